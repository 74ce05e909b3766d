with source as (

    select * from {{ source('raw', 'settings') }}

),

renamed as (

    select
        max(case when key = 'window_days' then cast(value as integer) end) as window_days,
        max(case when key = 'min_weeks_days' then cast(value as integer) end) as min_weeks_days,
        max(case when key = 'session_gap_minutes' then cast(value as double) end) * 60000000 as session_gap_microseconds,
        max(case when key = 'min_session_minutes' then cast(value as double) end) * 60000000 as min_session_microseconds,
        max(case when key = 'inactive_days' then cast(value as integer) end) as inactive_days,
        max(case when key = 'reactivated_within_days' then cast(value as integer) end) as reactivated_within_days
    from source

)

select * from renamed
