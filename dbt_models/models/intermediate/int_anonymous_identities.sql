with live as (

    select as_of from {{ source('raw', 'moments') }} where is_live

),

-- The first identification holds, whatever is said later.
first_identifications as (

    select anonymous_id, user_id, occurred_at as identified_at
    from (
        select
            events.anonymous_id,
            events.user_id,
            events.occurred_at,
            row_number() over (
                partition by events.anonymous_id
                order by events.occurred_at, events.received_at, events.message_id
            ) as position
        from {{ ref('stg_product__events') }} as events
        inner join live on events.occurred_at <= live.as_of
        where events.event_type = 'identify' and events.user_id is not null and events.anonymous_id is not null
    )
    where position = 1

),

-- An id that was rolled up under one user and now belongs to nobody stays in sight until the rollup has let go of it.
compared as (

    select
        coalesce(identities.anonymous_id, rolled_up.anonymous_id) as anonymous_id,
        identities.user_id,
        identities.identified_at,
        rolled_up.user_id as previous_user_id,
        case
            when identities.user_id is distinct from rolled_up.user_id
                then (select max(batch_id) from {{ source('raw', 'batches') }})
        end as changed_in_batch
    from first_identifications as identities
    full outer join {{ rollup_state('rolled_up_identities') }} as rolled_up
        on identities.anonymous_id = rolled_up.anonymous_id

)

select * from compared
