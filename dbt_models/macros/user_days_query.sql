{#
  The user-days of the given days, from scratch: sessions first, then days. Grain: user_id, day.

  runs: pairs of first and last day as ISO texts, oldest first; an empty list gives no rows. Ranges of time are what
    DuckDB skips row groups by; a long list of days would be a join that holds all events.
  everyone: true for all users of these days, false for those in int_user_days_touched.
  of_events: the events, by default int_user_events.
#}
{% macro user_days_query(runs, everyone, of_events=none) %}
with settings as (

    select * from {{ ref('stg_playbook__settings') }}

),

-- Exact names shield globs, also when their row feeds no signal.
exact as (

    select *, {{ signals() | join(' or ') }} as has_signal
    from {{ ref('int_catalog_entries') }}
    where match in ('track', 'page')

),

paths as (

    select *, {{ signals() | join(' or ') }} as has_signal from {{ ref('int_catalog_paths') }}

),

-- What every event says; only few events say more. Kept, so it has to be narrow.
events as {{ materialized() }} (

    select
        events.user_id,
        events.day,
        events.occurred_at,
        events.received_at,
        events.session_id,
        events.group_id,
        case
            when events.event_type in ('track', 'page', 'screen')
                then coalesce(events.feature, exact.feature, paths.feature)
        end as feature,
        events.event_type = 'track' and coalesce(exact.is_action, true) as is_action,
        coalesce(exact.pricing_page_view, paths.pricing_page_view, false) as pricing_page_view,
        case when events.event_type = 'identify' then events.traits end as user_traits,

        -- of events that feed a signal
        coalesce(exact.has_signal, paths.has_signal, false) as has_signal,
        case when coalesce(exact.has_signal, paths.has_signal) then events.integration end as integration,
        case when coalesce(exact.has_signal, paths.has_signal) then events.status end as status,
        case when exact.has_signal then events.event_key end as signal_event_key,
        case when exact.has_signal then exact.match end as signal_match,
        case when paths.has_signal then events.path_key end as signal_path_key,
        case when coalesce(exact.has_signal, paths.has_signal) or events.event_type = 'identify'
            then events.message_id end as message_id
    from {{ of_events or ref('int_user_events') }} as events
    {%- if not everyone %}
    inner join {{ ref('int_user_days_touched') }} as touched
        on events.user_id = touched.user_id and events.day = touched.day
    {%- endif %}
    left join exact
        on events.event_key = exact.event_key
        and case when events.event_type = 'screen' then 'page' else events.event_type end = exact.match
    left join paths
        on exact.event_key is null
        and events.event_type in ('page', 'screen')
        and events.path_key = paths.path_key
    {%- if runs %}
    where (
        {%- for run in runs %}
        {{ 'or ' if not loop.first }}events.occurred_at >= timestamp '{{ run[0] }} 00:00:00'
        and events.occurred_at <= timestamp '{{ run[1] }} 23:59:59.999999'
        {%- endfor %}
    )
    {%- else %}
    where false
    {%- endif %}

),

-- Sessions first, then days: from here on there are a few times fewer rows.
parts as {{ materialized() }} (

    select
        user_id,
        day,
        session_id,
        group_id,
        count(*) as events,
        count(*) filter (where is_action) as actions,
        min(occurred_at) as first_at,
        max(occurred_at) as last_at,
        max(received_at) as last_received_at,
        bool_or(pricing_page_view) as has_pricing_view
    from events
    group by user_id, day, session_id, group_id

),

event_days as (

    select
        user_id,
        day,
        cast(sum(events) as bigint) as events,
        cast(sum(actions) as bigint) as actions,
        min(first_at) as first_event_at,
        max(last_at) as last_event_at
    from parts
    group by user_id, day

),

-- A session id is a session of its day; none crosses midnight.
sessions_by_id as (

    select
        user_id,
        day,
        min(first_at) as started_at,
        max(last_at) as ended_at,
        bool_or(has_pricing_view) as has_pricing_view
    from parts
    where session_id is not null
    group by user_id, day, session_id

),

-- On a day without any session id a gap ends a session. A gap of exactly the limit doesn't.
gaps as (

    select
        events.user_id,
        events.day,
        events.occurred_at,
        events.pricing_page_view,
        lag(events.occurred_at) over (partition by events.user_id, events.day order by events.occurred_at) as previous_at
    from events
    left join (select distinct user_id, day from sessions_by_id) as identified
        on events.user_id = identified.user_id and events.day = identified.day
    where events.session_id is null and identified.user_id is null

),

numbered as (

    select
        user_id,
        day,
        occurred_at,
        pricing_page_view,
        sum(case
            when {{ microseconds_between('previous_at', 'occurred_at') }} <= session_gap_microseconds then 0
            else 1
        end) over (
            partition by user_id, day order by occurred_at rows between unbounded preceding and current row
        ) as session_number
    from gaps
    cross join settings

),

sessions as (

    select * from sessions_by_id
    union all
    select user_id, day, min(occurred_at), max(occurred_at), bool_or(pricing_page_view)
    from numbered
    group by user_id, day, session_number

),

session_days as (

    select
        user_id,
        day,
        count(*) as sessions,
        cast(sum(greatest(
            {{ microseconds_between('started_at', 'ended_at') }}, min_session_microseconds
        )) as bigint) as session_microseconds,
        count(*) filter (where has_pricing_view) as pricing_sessions
    from sessions
    cross join settings
    group by user_id, day

),

signal_events as {{ materialized() }} (

    select
        events.user_id,
        events.day,
        events.occurred_at,
        events.received_at,
        events.message_id,
        events.integration,
        events.status,
        {%- for signal in signals() %}
        coalesce(exact.{{ signal }}, paths.{{ signal }}, false) as {{ signal }},
        {%- endfor %}
        coalesce(exact.setup_steps, paths.setup_steps) as setup_steps
    from events
    left join exact on events.signal_event_key = exact.event_key and events.signal_match = exact.match
    left join paths on events.signal_path_key = paths.path_key
    where events.has_signal

),

-- The day's last word on each integration; one without a name is one integration.
integration_events as (

    select
        user_id,
        day,
        coalesce(integration, '') as name,
        integration_connected as is_connected,
        row_number() over (
            partition by user_id, day, coalesce(integration, '')
            order by occurred_at desc, received_at desc, message_id desc
        ) as recency
    from signal_events
    where integration_connected or integration_disconnected

),

integration_days as (

    select user_id, day, {{ sorted_list(struct_of({'name': 'name', 'is_connected': 'is_connected'})) }} as integrations
    from integration_events
    where recency = 1
    group by user_id, day

),

steps as (

    select user_id, day, step, min(occurred_at) as first_at
    from (
        select user_id, day, occurred_at, {{ each_of('setup_steps') }} as step
        from signal_events
        where setup_step
    )
    group by user_id, day, step

),

step_days as (

    select user_id, day, {{ sorted_list(struct_of({'step': 'step', 'first_at': 'first_at'})) }} as setup_steps
    from steps
    group by user_id, day

),

-- Every group id of the day: which of them is an account is known later.
groups as (

    select user_id, day, group_id, max(last_at) as last_at, max(last_received_at) as last_received_at
    from parts
    where group_id is not null
    group by user_id, day, group_id

),

group_days as (

    select
        user_id,
        day,
        {{ sorted_list(struct_of({
            'group_id': 'group_id', 'last_at': 'last_at', 'last_received_at': 'last_received_at',
        })) }} as groups
    from groups
    group by user_id, day

),

identify_events as (

    select
        *,
        lower({{ text_of(json_text('user_traits', "'email'")) }}) as email,
        {{ person_name('user_traits') }} as user_name,
        row_number() over (partition by user_id, day order by occurred_at, received_at, message_id) as position
    from events
    where user_traits is not null

),

-- The day's last e-mail and name. What isn't an address is no e-mail.
trait_days as (

    select
        user_id,
        day,
        {{ latest_value('case when ' ~ is_email('email') ~ ' then email end', 'position') }} as email,
        {{ latest_value('user_name', 'position') }} as user_name
    from identify_events
    group by user_id, day

),

features as (

    select user_id, day, {{ sorted_list('feature') }} as features
    from (select distinct user_id, day, feature from events where feature is not null)
    group by user_id, day

),

signal_days as (

    select
        user_id,
        day,
        {%- for signal in counted_signals() %}
        count(*) filter (where {{ signal }}) as {{ signal }},
        {%- endfor %}
        {%- for signal, column in dated_signals().items() %}
        max(case when {{ signal }} then occurred_at end) as {{ column }},
        {%- endfor %}
        count(*) filter (where data_import and status = 'complete') as imports_complete,
        count(*) filter (where data_import and status = 'failed') as imports_failed,
        count(*) filter (where data_import and coalesce(status, '') not in ('complete', 'failed')) as imports_partial,
        min(case when data_import and coalesce(status, '') <> 'failed' then occurred_at end) as first_import_at,
        min(case when team_invite then occurred_at end) as first_invite_at,
        min(case when integration_connected then occurred_at end) as first_integration_at,
        max(case when unsubscribe then occurred_at end) as last_unsubscribe_at,
        max(case when resubscribe then occurred_at end) as last_resubscribe_at
    from signal_events
    group by user_id, day

)

select
    event_days.*,
    {%- for signal in counted_signals() %}
    coalesce(signal_days.{{ signal }}, 0) as {{ signal }},
    {%- endfor %}
    {%- for column in dated_signals().values() %}
    signal_days.{{ column }},
    {%- endfor %}
    coalesce(signal_days.imports_complete, 0) as imports_complete,
    coalesce(signal_days.imports_failed, 0) as imports_failed,
    coalesce(signal_days.imports_partial, 0) as imports_partial,
    signal_days.first_import_at,
    signal_days.first_invite_at,
    signal_days.first_integration_at,
    signal_days.last_unsubscribe_at,
    signal_days.last_resubscribe_at,
    features.features,
    coalesce(session_days.sessions, 0) as sessions,
    coalesce(session_days.session_microseconds, 0) as session_microseconds,
    coalesce(session_days.pricing_sessions, 0) as pricing_sessions,
    integration_days.integrations,
    step_days.setup_steps,
    group_days.groups,
    trait_days.email,
    trait_days.user_name
from event_days
left join signal_days on event_days.user_id = signal_days.user_id and event_days.day = signal_days.day
left join session_days on event_days.user_id = session_days.user_id and event_days.day = session_days.day
left join features on event_days.user_id = features.user_id and event_days.day = features.day
left join integration_days on event_days.user_id = integration_days.user_id and event_days.day = integration_days.day
left join step_days on event_days.user_id = step_days.user_id and event_days.day = step_days.day
left join group_days on event_days.user_id = group_days.user_id and event_days.day = group_days.day
left join trait_days on event_days.user_id = trait_days.user_id and event_days.day = trait_days.day
order by event_days.day, event_days.user_id
{% endmacro %}
