{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        tags=['delta'],
        pre_hook="{{ forget_touched(of='histories') }}",
    )
}}
-- depends_on: {{ ref('int_user_days_touched') }}
-- depends_on: {{ ref('stg_playbook__settings') }}
-- depends_on: {{ source('raw', 'moments') }}
{%- set moments = measured_moments() %}
{%- set days = 'days' if is_incremental() else ref('int_user_days') %}

{#- How many moments' days had begun: what is grouped by this needs no row per moment. -#}
{%- set period %}
    {%- for moment in moments[:-1] %}{{ 'cast(' if loop.first else ' + cast(' }}day >= {{ moment.day }} as integer){% else %}0{% endfor %}
{%- endset %}
{%- set until = 'day < ' ~ moments[-1].day %}
{#- What few days have, and how it adds up. -#}
{%- set milestones = {
    'imports_complete': 'sum', 'imports_partial': 'sum', 'imports_failed': 'sum',
    'first_import_at': 'min', 'first_invite_at': 'min', 'first_integration_at': 'min',
    'last_unsubscribe_at': 'max', 'last_resubscribe_at': 'max',
} %}

with moments as (

    {%- for moment in moments %}
    {{ 'union all' if not loop.first }}
    select {{ moment.as_of }} as as_of, {{ moment.day }} as moment_day, {{ loop.index0 }} as position
    {%- endfor %}

),
{%- if is_incremental() %}

days as {{ materialized() }} (

    select * from {{ touched_rows(ref('int_user_days'), of='histories') }} as user_days

),
{%- endif %}

-- Days of one block lie too close together for a return: only the first of a block can be one, after the last of the one before.
blocks as (

    select
        user_id,
        {{ period }} as period,
        {{ days_between("date '1970-01-01'", 'day') }} // {{ moments[0].inactive_days }} as block,
        min(day) as first_day,
        max(day) as last_day,
        min(first_event_at) as first_event_at,
        max(last_event_at) as last_event_at
    from {{ days }}
    where {{ until }}
    group by all

),

steps_in_time as (

    select
        *,
        {{ days_between('lag(last_day) over (partition by user_id order by first_day)', 'first_day') }} >= {{ moments[0].inactive_days }} as is_return,
        lag(last_day) over (partition by user_id order by first_day) as previous_day
    from blocks

),

to_date as (

    select
        moments.as_of,
        user_id,
        min(first_event_at) as first_event_at,
        max(last_event_at) as last_active_at,
        max(last_day) as last_day,
        max(first_event_at) filter (where is_return) as reactivated_at,
        max(previous_day) filter (where is_return) as previous_active_day
    from steps_in_time
    inner join moments on period <= moments.position
    group by all

),

in_window as (

    {%- for moment in moments %}
    {{ 'union all' if not loop.first }}
    select
        {{ moment.as_of }} as as_of,
        user_id,
        sum(sessions) as sessions,
        sum(session_microseconds) as session_microseconds,
        sum(actions) as actions,
        sum(pricing_sessions) as pricing_sessions,
        {%- for signal in counted_signals() %}
        sum({{ signal }}) as {{ signal }},
        {%- endfor %}
        {%- for column in dated_signals().values() %}
        max({{ column }}) as {{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ days }}
    where day >= {{ moment.window_from }} and day < {{ moment.day }}
    group by user_id
    {%- endfor %}

),

before_window as (

    {%- for moment in moments %}
    {{ 'union all' if not loop.first }}
    select distinct {{ moment.as_of }} as as_of, user_id
    from {{ days }}
    where day >= {{ moment.before_from }} and day < {{ moment.window_from }}
    {%- endfor %}

),

-- Who has churned in the CRM and was seen before the last days already came back then.
before_lately as (

    {%- for moment in moments %}
    {{ 'union all' if not loop.first }}
    select {{ moment.as_of }} as as_of, user_id, max(day) as last_day
    from {{ days }}
    where day < {{ moment.lately_from }}
    group by user_id
    {%- endfor %}

),

milestones_by_period as (

    select
        user_id,
        {{ period }} as period,
        {%- for column, total in milestones.items() %}
        {{ total }}({{ column }}) as {{ column }},
        {%- endfor %}
        {{ latest_value('email', 'day') }} as email,
        max(day) filter (where email is not null) as email_day,
        {{ latest_value('user_name', 'day') }} as user_name,
        max(day) filter (where user_name is not null) as user_name_day
    from {{ days }}
    where {{ until }} and (
        imports_complete > 0 or imports_partial > 0 or imports_failed > 0
        or first_invite_at is not null or first_integration_at is not null
        or last_unsubscribe_at is not null or last_resubscribe_at is not null
        or email is not null or user_name is not null
    )
    group by all

),

milestones as (

    select
        moments.as_of,
        user_id,
        {%- for column, total in milestones.items() %}
        {{ total }}({{ column }}) as {{ column }},
        {%- endfor %}
        {{ latest_value('email', 'email_day') }} as email,
        {{ latest_value('user_name', 'user_name_day') }} as user_name
    from milestones_by_period
    inner join moments on period <= moments.position
    group by all

),

features as (

    {%- for moment in moments %}
    {{ 'union all' if not loop.first }}
    select {{ moment.as_of }} as as_of, user_id, {{ sorted_list('feature') }} as features
    from (
        select distinct user_id, {{ each_of('features') }} as feature
        from {{ days }}
        where day >= {{ moment.window_from }} and day < {{ moment.day }} and features is not null
    )
    group by user_id
    {%- endfor %}

),

-- The latest word on each integration.
integrations as (

    select as_of, user_id, {{ sorted_list(struct_of({'name': 'name', 'is_connected': 'is_connected'})) }} as integrations
    from (
        select moments.as_of, user_id, word.name as name, max_by(word.is_connected, day) as is_connected
        from (
            select user_id, day, {{ each_of('integrations') }} as word
            from {{ days }}
            where integrations is not null
        )
        inner join moments on day < moments.moment_day
        group by all
    )
    group by as_of, user_id

),

-- A step is reached once: of each the first time.
setup_steps as (

    select as_of, user_id, {{ sorted_list(struct_of({'step': 'step', 'first_at': 'first_at'})) }} as setup_steps
    from (
        select user_id, word.step as step, min(word.first_at) as first_at, min(day) as first_day
        from (
            select user_id, day, {{ each_of('setup_steps') }} as word
            from {{ days }}
            where setup_steps is not null
        )
        group by user_id, word.step
    )
    inner join moments on first_day < moments.moment_day
    group by as_of, user_id

),

groups as (

    select
        as_of,
        user_id,
        {{ sorted_list(struct_of({
            'group_id': 'group_id', 'last_at': 'last_at', 'last_received_at': 'last_received_at',
        })) }} as groups
    from (
        select
            moments.as_of,
            user_id,
            word.group_id as group_id,
            max(word.last_at) as last_at,
            max(word.last_received_at) as last_received_at
        from (
            select user_id, day, {{ each_of('groups') }} as word
            from {{ days }}
            where groups is not null
        )
        inner join moments on day < moments.moment_day
        group by all
    )
    group by as_of, user_id

)

select
    to_date.*,
    {{ key_of('to_date.user_id') }} as user_key,
    in_window.user_id is not null as active_in_window,
    before_window.user_id is not null as active_before_window,
    before_lately.last_day as last_day_before_lately,
    in_window.sessions,
    in_window.session_microseconds,
    in_window.actions,
    in_window.pricing_sessions,
    {%- for column in counted_signals() + dated_signals().values() | list %}
    in_window.{{ column }},
    {%- endfor %}
    {%- for column in milestones %}
    milestones.{{ column }},
    {%- endfor %}
    milestones.email,
    milestones.user_name,
    features.features,
    integrations.integrations,
    setup_steps.setup_steps,
    groups.groups
from to_date
left join in_window on to_date.as_of = in_window.as_of and to_date.user_id = in_window.user_id
left join before_window on to_date.as_of = before_window.as_of and to_date.user_id = before_window.user_id
left join before_lately on to_date.as_of = before_lately.as_of and to_date.user_id = before_lately.user_id
left join milestones on to_date.as_of = milestones.as_of and to_date.user_id = milestones.user_id
left join features on to_date.as_of = features.as_of and to_date.user_id = features.user_id
left join integrations on to_date.as_of = integrations.as_of and to_date.user_id = integrations.user_id
left join setup_steps on to_date.as_of = setup_steps.as_of and to_date.user_id = setup_steps.user_id
left join groups on to_date.as_of = groups.as_of and to_date.user_id = groups.user_id
