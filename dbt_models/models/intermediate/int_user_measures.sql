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
with moments as (

    select as_of, day as moment_day from {{ source('raw', 'moments') }}

),

settings as (

    select * from {{ ref('stg_playbook__settings') }}

),

-- Read column by column below: kept as a whole it would not fit in memory. The few of a delta are found once.
days as {{ materialized() if is_incremental() else not_materialized() }} (

    select
        moments.as_of,
        moments.moment_day,
        rolled_up.*,
        rolled_up.day > {{ days_before('moments.moment_day', 'settings.window_days') }} as in_window,
        rolled_up.day > {{ days_before('moments.moment_day', '2 * settings.window_days') }}
            and rolled_up.day <= {{ days_before('moments.moment_day', 'settings.window_days') }} as in_window_before
    from {{ ref('int_user_days') }} as rolled_up
    cross join settings
    inner join moments on rolled_up.day <= moments.moment_day
    {%- if is_incremental() %}
    -- Which rows are looked for in one narrow column, and only then are they read in their whole width.
    where rolled_up.rowid in (
        select candidates.rowid from {{ ref('int_user_days') }} as candidates
        where {{ only_touched('candidates.user_id') }}
    )
    {%- endif %}

),

-- Back after more than so many days without an event.
returns as (

    select user_id, day, first_event_at, previous_day
    from (
        select user_id, day, first_event_at, lag(day) over (partition by user_id order by day) as previous_day
        from {{ 'days' if is_incremental() else ref('int_user_days') }}
    )
    cross join settings
    where {{ days_between('previous_day', 'day') }} > settings.inactive_days

),

latest_returns as (

    select
        moments.as_of,
        returns.user_id,
        max(returns.first_event_at) as reactivated_at,
        max(returns.previous_day) as previous_active_day
    from returns
    inner join moments on returns.day <= moments.moment_day
    group by moments.as_of, returns.user_id

),

measures as (

    select
        as_of,
        user_id,
        min(first_event_at) as first_event_at,
        max(last_event_at) as last_active_at,
        {{ days_between('cast(min(first_event_at) as date)', 'max(moment_day)') }} + 1 as days_since_first_event,
        bool_or(in_window) as active_in_window,
        bool_or(in_window_before) as active_before_window,
        coalesce(sum(sessions) filter (where in_window), 0) as sessions,
        coalesce(sum(session_microseconds) filter (where in_window), 0) as session_microseconds,
        coalesce(sum(actions) filter (where in_window), 0) as actions,
        coalesce(sum(pricing_sessions) filter (where in_window), 0) as pricing_visits,
        {%- for signal in counted_signals() %}
        coalesce(sum({{ signal }}) filter (where in_window), 0) as {{ signal }},
        {%- endfor %}
        {%- for column in dated_signals().values() %}
        max({{ column }}) filter (where in_window) as {{ column }},
        {%- endfor %}
        sum(imports_complete) as imports_complete,
        sum(imports_partial) as imports_partial,
        sum(imports_failed) as imports_failed,
        min(first_import_at) as first_import_at,
        min(first_invite_at) as first_invite_at,
        min(first_integration_at) as first_integration_at,
        max(last_unsubscribe_at) as last_unsubscribe_at,
        max(last_resubscribe_at) as last_resubscribe_at,
        {{ latest_value('email', 'day') }} as email,
        {{ latest_value('user_name', 'day') }} as user_name
    from days
    group by as_of, user_id

),

features as (

    select as_of, user_id, {{ sorted_list('feature') }} as features_used
    from (
        select distinct as_of, user_id, {{ each_of('features') }} as feature
        from days
        where in_window and features is not null
    )
    group by as_of, user_id

),

-- The latest word on each integration, to date.
integration_words as (

    select as_of, user_id, day, word.name as name, word.is_connected as is_connected
    from (
        select as_of, user_id, day, {{ each_of('integrations') }} as word
        from days
        where integrations is not null
    )

),

integrations as (

    select
        as_of,
        user_id,
        count(*) filter (where is_connected) as integrations,
        {{ distinct_values("case when is_connected then coalesce(nullif(name, ''), 'unnamed') end") }} as integrations_connected
    from (
        select as_of, user_id, name, max_by(is_connected, day) as is_connected
        from integration_words
        group by as_of, user_id, name
    )
    group by as_of, user_id

),

steps as (

    select as_of, user_id, step, min(reached_at) as reached_at
    from (
        select as_of, user_id, word.step as step, word.first_at as reached_at
        from (
            select as_of, user_id, {{ each_of('setup_steps') }} as word
            from days
            where setup_steps is not null
        )
    )
    group by as_of, user_id, step

),

step_lists as (

    select
        as_of,
        user_id,
        {{ distinct_values('step') }} as setup_steps_done,
        {{ ordered_list(struct_of({'step': 'step', 'reached_at': 'reached_at'}), 'reached_at, step') }} as setup_steps
    from steps
    group by as_of, user_id

)

select
    measures.*,
    latest_returns.reactivated_at,
    latest_returns.previous_active_day,
    coalesce(features.features_used, {{ empty_list() }}) as features_used,
    coalesce(integrations.integrations, 0) as integrations,
    coalesce(integrations.integrations_connected, {{ empty_list() }}) as integrations_connected,
    coalesce(step_lists.setup_steps_done, {{ empty_list() }}) as setup_steps_done,
    coalesce(step_lists.setup_steps, {{ empty_list('struct(step varchar, reached_at timestamp)') }}) as setup_steps
from measures
left join latest_returns
    on measures.as_of = latest_returns.as_of and measures.user_id = latest_returns.user_id
left join features on measures.as_of = features.as_of and measures.user_id = features.user_id
left join integrations on measures.as_of = integrations.as_of and measures.user_id = integrations.user_id
left join step_lists on measures.as_of = step_lists.as_of and measures.user_id = step_lists.user_id
