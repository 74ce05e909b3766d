{%- set range = past_range() -%}
-- Since when users were known: the day of their first event, as far as it was known then. Disjoint spans per user.
with known as (

    select user_id, greatest(valid_from, {{ range.first }}) as from_day, min(day) as day
    from {{ ref('past_user_days') }}
    where valid_from < {{ range.end }}
    group by user_id, from_day

),

changes as (

    select user_id, from_day, first_day
    from (
        select user_id, from_day, first_day, lag(first_day) over (partition by user_id order by from_day) as before
        from (
            select user_id, from_day, min(day) over (partition by user_id order by from_day) as first_day from known
        )
    )
    where first_day is distinct from before

)

select
    user_id,
    first_day,
    from_day,
    lead(from_day, 1, {{ range.end }}) over (partition by user_id order by from_day) as to_day
from changes
