{%- set range = past_range() -%}
-- When a feature was among those that a user used in the window: spans that overlap or meet are one. Disjoint spans per user
-- and feature.
with uses as (

    select user_id, feature, from_day, max(to_day) as to_day
    from (
        select
            user_id,
            {{ each_of('features') }} as feature,
            greatest(valid_from, {{ range.first }}) as from_day,
            least({{ days_after('day', range.window) }}, {{ range.end }}) as to_day
        from {{ ref('past_user_days') }}
        where features is not null
            and day > {{ days_before(range.first, range.window) }}
            and day < {{ range.end }}
            and valid_from < {{ range.end }}
    )
    where from_day < to_day
    group by user_id, feature, from_day

)

select
    user_id,
    feature,
    from_day,
    lead(covered_to, 1, last_day) over (partition by user_id, feature order by from_day) as to_day
from (
    select
        user_id,
        feature,
        from_day,
        max(to_day) over (
            partition by user_id, feature order by from_day rows between unbounded preceding and 1 preceding
        ) as covered_to,
        max(to_day) over (partition by user_id, feature) as last_day
    from uses
)
where covered_to is null or covered_to < from_day
