{{ config(materialized='view') }}
{%- set columns = ['sessions', 'session_microseconds', 'actions', 'imports_complete', 'imports_partial']
                  + counted_signals() + ['features', 'integrations', 'setup_steps', 'groups', 'email'] %}
-- User-days as the days to score saw them: from valid_from up to but not including valid_to.
select
    days.user_id,
    days.day,
    days.day as valid_from,
    {{ never() }} as valid_to,
    days.{{ columns | join(', days.') }}
from {{ ref('int_user_days') }} as days
left join (select distinct user_id, day from {{ ref('past_late_days') }}) as late
    on days.user_id = late.user_id and days.day = late.day
where late.user_id is null
union all
select
    versions.user_id,
    versions.day,
    versions.valid_from,
    versions.valid_to,
    days.{{ columns | join(', days.') }}
from {{ ref('past_late_user_days') }} as days
inner join {{ ref('past_late_days') }} as versions on days.user_id = cast(versions.version_id as varchar)
