{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        tags=['delta'],
        pre_hook="{{ forget_touched() }}",
    )
}}
-- depends_on: {{ ref('int_users_touched') }}
-- depends_on: {{ ref('stg_playbook__settings') }}
{%- set moments = measured_moments() %}
{%- set returned = days_between('history.last_day', 'today.day') ~ ' >= ' ~ moments[0].inactive_days %}
{%- set sums = ['sessions', 'session_microseconds', 'actions', 'imports_complete', 'imports_partial', 'imports_failed']
               + counted_signals() %}
{%- set earliest = ['first_import_at', 'first_invite_at', 'first_integration_at'] %}
{%- set latest = ['last_unsubscribe_at', 'last_resubscribe_at', 'email', 'user_name'] + dated_signals().values() | list %}
{%- set connected = of_parts('integrations', "coalesce(nullif(part.name, ''), 'unnamed')", 'part.is_connected') %}
{%- set steps = set_of(of_parts('setup_steps', struct_of({'reached_at': 'part.first_at', 'step': 'part.step'}))) %}

with history as (

    select * from {{ touched_rows(ref('int_user_history')) }} as history

),

-- The moment's own day.
today as (

    {%- for moment in moments %}
    {{ 'union all' if not loop.first }}
    select {{ moment.as_of }} as as_of, *
    {%- if is_incremental() %}
    from {{ rows_among(ref('int_user_days'), 'user_id', touched_keys('user_ids')[1], day=moment.day) }} as user_days
    {%- else %}
    from {{ ref('int_user_days') }} where day = {{ moment.day }}
    {%- endif %}
    {%- endfor %}

),

to_date as (

    select
        coalesce(today.as_of, history.as_of) as as_of,
        coalesce(today.user_id, history.user_id) as user_id,
        least(history.first_event_at, today.first_event_at) as first_event_at,
        greatest(history.last_active_at, today.last_event_at) as last_active_at,
        case when {{ returned }} then today.first_event_at else history.reactivated_at end as reactivated_at,
        case when {{ returned }} then history.last_day else history.previous_active_day end as previous_active_day,
        history.last_day_before_lately,
        today.user_id is not null or history.active_in_window as active_in_window,
        coalesce(history.active_before_window, false) as active_before_window,
        {%- for column in sums %}
        coalesce(history.{{ column }}, 0) + coalesce(today.{{ column }}, 0) as {{ column }},
        {%- endfor %}
        coalesce(history.pricing_sessions, 0) + coalesce(today.pricing_sessions, 0) as pricing_visits,
        {%- for column in earliest %}
        coalesce(history.{{ column }}, today.{{ column }}) as {{ column }},
        {%- endfor %}
        {%- for column in latest %}
        coalesce(today.{{ column }}, history.{{ column }}) as {{ column }},
        {%- endfor %}
        {{ set_of(both_of('history.features', 'today.features')) }} as features,
        {{ words_of('today.integrations', 'history.integrations', 'name') }} as integrations,
        {{ words_of('history.setup_steps', 'today.setup_steps', 'step') }} as setup_steps,
        {{ both_of('history.groups', 'today.groups') }} as groups
    from history
    full outer join today on history.as_of = today.as_of and history.user_id = today.user_id

)

select
    to_date.as_of,
    to_date.user_id,
    {{ key_of('to_date.user_id') }} as user_key,
    to_date.first_event_at,
    to_date.last_active_at,
    {{ days_between('cast(to_date.first_event_at as date)', 'moments.day') }} + 1 as days_since_first_event,
    to_date.reactivated_at,
    to_date.previous_active_day,
    to_date.last_day_before_lately,
    to_date.active_in_window,
    to_date.active_before_window,
    {%- for column in sums + ['pricing_visits'] + earliest + latest %}
    to_date.{{ column }},
    {%- endfor %}
    coalesce(to_date.features, {{ empty_list() }}) as features_used,
    coalesce({{ length_of(connected) }}, 0) as integrations,
    coalesce({{ set_of(connected) }}, {{ empty_list() }}) as integrations_connected,
    coalesce({{ set_of(of_parts('setup_steps', 'part.step')) }}, {{ empty_list() }}) as setup_steps_done,
    coalesce({{ each_as(steps, ['step', 'reached_at']) }}, {{ empty_list('struct(step varchar, reached_at timestamp)') }}) as setup_steps,
    to_date.groups
from to_date
inner join {{ source('raw', 'moments') }} as moments on to_date.as_of = moments.as_of
