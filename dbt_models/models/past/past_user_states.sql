{#-
  Every measure is a running sum of changes: what an event adds on its day it takes back on the day on which it leaves the
  window. Between two changes of a user nothing moves, so that a state is computed once for all of its days.

  Few user-days say more than how much somebody used the product, so the other measures have sums of their own.
-#}
{%- set range = past_range() -%}
{%- set signals = counted_signals() -%}
{%- set sums = ['sessions', 'session_microseconds', 'actions'] + signals -%}
{%- set adds, takes = {'days_active': 1}, {'days_active': -1} -%}
{%- for measure in sums -%}
  {%- do adds.update({measure: measure}) -%}
  {%- do takes.update({measure: '-' ~ measure}) -%}
{%- endfor -%}
{%- set usage = ['sessions', 'session_microseconds', 'actions', 'days_active', 'features_used'] -%}
{%- set rare = signals + ['active_before', 'integrations', 'steps_done', 'imports_complete', 'imports_partial',
                          'limit_tickets'] -%}
with windows as (

    select *
    from (
        select
            user_id,
            greatest(valid_from, {{ range.first }}) as from_day,
            least({{ days_after('day', range.window) }}, valid_to) as to_day,
            {{ sums | join(', ') }}
        from {{ ref('past_user_days') }}
        where valid_from < {{ range.end }} and {{ days_after('day', range.window) }} > {{ range.first }}
    )
    where from_day < to_day

),

windows_with_signals as (

    select * from windows where {{ signals | join(' > 0 or ') }} > 0

),

windows_before as (

    select user_id, from_day, max(to_day) as to_day
    from (
        select
            user_id,
            greatest(valid_from, {{ days_after('day', range.window) }}, {{ range.first }}) as from_day,
            least({{ days_after('day', range.two_windows) }}, valid_to) as to_day
        from {{ ref('past_user_days') }}
        where
            valid_from < {{ range.end }}
            and {{ days_after('day', range.two_windows) }} > {{ range.first }}
            and {{ days_after('day', range.window) }} < {{ range.end }}
    )
    where from_day < to_day
    group by user_id, from_day

),

-- When there was any day in the window before: spans of it that overlap or meet are one.
active_before as (

    select
        user_id,
        from_day,
        lead(covered_to, 1, last_day) over (partition by user_id order by from_day) as to_day
    from (
        select
            user_id,
            from_day,
            max(to_day) over (
                partition by user_id order by from_day rows between unbounded preceding and 1 preceding
            ) as covered_to,
            max(to_day) over (partition by user_id) as last_day
        from windows_before
    )
    where covered_to is null or covered_to < from_day

),

days as {{ not_materialized() }} (

    select *, greatest(valid_from, {{ range.first }}) as known_from
    from {{ ref('past_user_days') }}
    where valid_from < {{ range.end }}

),

-- The latest word on each integration, to date.
integration_words as (

    select user_id, word.name as name, known_from, max({{ struct_of({
        'day': 'day', 'valid_from': 'valid_from', 'is_connected': 'word.is_connected',
    }) }}) as latest
    from (
        select user_id, day, valid_from, known_from, {{ each_of('integrations') }} as word
        from days
        where integrations is not null
    )
    group by user_id, word.name, known_from

),

integrations as (

    select user_id, known_from, is_connected - lag(is_connected, 1, 0) over (partition by user_id, name order by known_from) as change
    from (
        select
            user_id,
            name,
            known_from,
            case when (max(latest) over (partition by user_id, name order by known_from)).is_connected then 1 else 0 end
                as is_connected
        from integration_words
    )

),

steps as (

    select user_id, step, min(known_from) as known_from
    from (
        select user_id, known_from, word.step as step
        from (
            select user_id, known_from, {{ each_of('setup_steps') }} as word from days where setup_steps is not null
        )
    )
    group by user_id, step

),

identities as (

    select * from {{ ref('past_identities') }}

),

first_days as (

    select * from {{ ref('past_first_days') }}

),

imports as (

    select user_id, 'complete' as what, min(known_from) as known_from from days where imports_complete > 0 group by user_id
    union all
    select user_id, 'partial', min(known_from) from days where imports_partial > 0 group by user_id

),

-- Sessions per week are counted over the weeks since the first day, up to a whole window: another number each day until then.
weeks as (

    select user_id, {{ each_day('from_day', 'to_day') }} as change_day
    from (
        select
            user_id,
            greatest(from_day, {{ days_after('first_day', range.min_days) }}) as from_day,
            least(to_day, {{ days_after('first_day', range.window) }}) as to_day
        from first_days
    )
    where from_day < to_day

),

rare_changes as (

    select user_id, change_day
    {%- for measure in rare %}, cast(sum({{ measure }}) as bigint) as {{ measure }}{% endfor %}
    from (
        {{ changes_of('windows_with_signals', 'from_day', adds, rare) }}
        union all
        {{ changes_of('windows_with_signals', 'to_day', takes, rare) }}
        union all
        {{ changes_of('active_before', 'from_day', {'active_before': 1}, rare) }}
        union all
        {{ changes_of('active_before', 'to_day', {'active_before': -1}, rare) }}
        union all
        {{ changes_of('integrations where change <> 0', 'known_from', {'integrations': 'change'}, rare) }}
        union all
        {{ changes_of('steps', 'known_from', {'steps_done': 1}, rare) }}
        union all
        {{ changes_of("imports where what = 'complete'", 'known_from', {'imports_complete': 1}, rare) }}
        union all
        {{ changes_of("imports where what = 'partial'", 'known_from', {'imports_partial': 1}, rare) }}
        union all
        {{ changes_of(ref('past_limit_tickets'), 'from_day', {'limit_tickets': 1}, rare) }}
        union all
        {{ changes_of(ref('past_limit_tickets'), 'to_day', {'limit_tickets': -1}, rare) }}
    )
    where change_day < {{ range.end }}
    group by user_id, change_day

),

rare_sums as (

    select user_id, change_day as rare_day
    {%- for measure in rare %},
    cast(sum({{ measure }}) over (of_user rows between unbounded preceding and current row) as bigint) as {{ measure }}
    {%- endfor %}
    from rare_changes
    window of_user as (partition by user_id order by change_day)

),

-- All days on which something changes, with what has changed of the usage.
usage_changes as (

    select user_id, change_day, max(rare_day) as rare_day
    {%- for measure in usage %}, cast(sum({{ measure }}) as bigint) as {{ measure }}{% endfor %}
    from (
        select *, cast(null as date) as rare_day
        from (
            {{ changes_of('windows', 'from_day', adds, usage) }}
            union all
            {{ changes_of('windows', 'to_day', takes, usage) }}
            union all
            {{ changes_of(ref('past_feature_uses'), 'from_day', {'features_used': 1}, usage) }}
            union all
            {{ changes_of(ref('past_feature_uses'), 'to_day', {'features_used': -1}, usage) }}
            union all
            {{ changes_of('weeks', 'change_day', {}, usage) }}
            union all
            {{ changes_of('first_days', 'from_day', {}, usage) }}
            union all
            {{ changes_of('identities', 'from_day', {}, usage) }}
            union all
            {{ changes_of('identities', 'to_day', {}, usage) }}
        )
        union all
        select *, change_day from ({{ changes_of('rare_changes', 'change_day', {}, usage) }})
    )
    where change_day < {{ range.end }}
    group by user_id, change_day

),

standing as (

    select
        user_id,
        change_day as from_day,
        lead(change_day, 1, {{ range.end }}) over of_user as to_day,
        max(rare_day) over (of_user rows between unbounded preceding and current row) as rare_day
        {%- for measure in usage %},
        cast(sum({{ measure }}) over (of_user rows between unbounded preceding and current row) as bigint) as {{ measure }}
        {%- endfor %}
    from usage_changes
    window of_user as (partition by user_id order by change_day)

),

measured as (

    select
        standing.*,
        {%- for measure in rare %}
        coalesce(rare_sums.{{ measure }}, 0) as {{ measure }},
        {%- endfor %}
        identities.account_id,
        identities.department,
        {{ days_between('first_days.first_day', 'standing.from_day') }} + 1 as days_since_first_event
    from standing
    left join rare_sums on standing.user_id = rare_sums.user_id and standing.rare_day = rare_sums.rare_day
    inner join identities
        on standing.user_id = identities.user_id
        and identities.from_day <= standing.from_day and standing.from_day < identities.to_day
    inner join first_days
        on standing.user_id = first_days.user_id
        and first_days.from_day <= standing.from_day and standing.from_day < first_days.to_day

),

catalogue as (

    select count(distinct step) as steps
    from (select {{ each_of('setup_steps') }} as step from {{ ref('int_catalog_entries') }} where setup_step)

)

select
    measures.user_id,
    measures.account_id,
    measures.department,
    measures.from_day,
    measures.to_day,
    measures.days_active > 0 as active_in_window,
    measures.active_before > 0 as active_before_window,
    cast(measures.sessions as double) * 7 / {{ days_observed() }} as sessions_per_week,
    cast(measures.session_microseconds as double) * 7 / (60000000 * {{ days_observed() }}) as minutes_per_week,
    measures.features_used,
    measures.actions,
    measures.team_invite as team_invites,
    measures.integrations,
    case
        when measures.imports_complete > 0 then 'full'
        when measures.imports_partial > 0 then 'some'
        else 'none'
    end as data_imported,
    case when catalogue.steps > 0 then cast(measures.steps_done as double) / catalogue.steps else 0 end as setup_share,
    {%- for signal in counted_signals() if signal not in ('team_invite', 'limit_support_contact') %}
    measures.{{ signal }},
    {%- endfor %}
    measures.limit_support_contact + measures.limit_tickets as limit_support_contact
from measured as measures
cross join {{ ref('stg_playbook__settings') }} as settings
cross join catalogue
