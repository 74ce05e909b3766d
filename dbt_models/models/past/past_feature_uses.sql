{%- set range = past_range() -%}
-- When a feature was among those that a user used in the window. Disjoint spans per user and feature.
with uses as (

    select
        user_id,
        {{ each_of('features') }} as feature,
        greatest(valid_from, date '{{ range.first }}') as from_day,
        least({{ days_after('day', range.window) }}, date '{{ range.end }}') as to_day
    from {{ ref('past_user_days') }}
    where features is not null
        and day > {{ days_before("date '" ~ range.first ~ "'", range.window) }}
        and day < date '{{ range.end }}'
        and valid_from < date '{{ range.end }}'

)

{{ disjoint('uses', 'user_id, feature') }}
