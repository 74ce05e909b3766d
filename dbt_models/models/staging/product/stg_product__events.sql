with source as (

    select *, rowid as event_row from {{ source('raw', 'events') }}

),

renamed as (

    select
        -- ids
        message_id,
        nullif(user_id, '') as user_id,
        nullif(anonymous_id, '') as anonymous_id,
        nullif(group_id, '') as group_id,
        nullif(session_id, '') as session_id,

        -- what happened
        type as event_type,
        -- Column by column: a function of one column is computed once per distinct value.
        case when type = 'track' then lower(trim(event)) else lower(trim(name)) end as event_key,
        lower(path) as path_key,
        feature,
        integration,
        lower(status) as status,

        -- what was said about the user or the group: JSON
        traits,

        -- when
        timestamp as occurred_at,
        cast(timestamp as date) as day,
        coalesce(received_at, timestamp) as received_at,

        -- which load brought it, and where it stands
        batch_id,
        event_row
    from source

)

select * from renamed
