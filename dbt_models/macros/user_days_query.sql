{#
  The user-days of the given days, from scratch: sessions first, then days. Grain: user_id, day.

  days: a condition on `events` that finds the days.
  everyone: true for all users of these days, false for those in int_user_days_touched.
  of_events: everyone's events, by default int_user_events.
#}
{% macro user_days_query(days, everyone, of_events=none) %}
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

{%- if not everyone %}

{%- set raw_events = source('raw', 'events') %}
{%- set those_events = 'select *, rowid from ' ~ raw_events ~ ' where rowid in (select place from places)' %}
{%- set touched_keys = 'select ' ~ key_of('user_id') ~ ' from ' ~ ref('int_user_days_touched') %}

touched_identities as {{ materialized() }} (

    select * from {{ rows_among(ref('int_anonymous_identities'), 'user_key', touched_keys) }} as identities

),

-- A small part of their days' events, which are looked for once, by few columns.
places as (

    select place
    from (select timestamp as occurred_at, user_id, anonymous_id, rowid as place from {{ raw_events }}) as events
    where ({{ days }}) and user_id in (select user_id from {{ ref('int_user_days_touched') }})
    union all
    select place
    from (select timestamp as occurred_at, user_id, anonymous_id, rowid as place from {{ raw_events }}) as events
    where ({{ days }}) and user_id is null and anonymous_id in (select anonymous_id from touched_identities)

),

touched_events as {{ materialized() }} (

    select events.*
    from (
        {{ user_events(
            events='(' ~ staged_events('(' ~ those_events ~ ')') ~ ')',
            identities='touched_identities',
            live=live_moment()
        ) }}
    ) as events
    inner join {{ ref('int_user_days_touched') }} as touched
        on events.user_id = touched.user_id and events.day = touched.day
    where ({{ days }})

),
{%- endif %}

-- A day's features are a set of these numbers: a whole number whose bits say which. What has no bit is a row.
feature_numbers as {{ materialized() }} (

    select feature, row_number() over (order by feature) - 1 as number
    from (
        select feature from exact
        union
        select feature from paths
        union
        select feature from {{ events_of(days, everyone, of_events) }}
    )
    where feature is not null

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
            when events.event_type in ('track', 'page', 'screen') then feature_numbers.number
        end as feature_number,
        events.event_type = 'track' and coalesce(exact.is_action, true) as is_action,
        coalesce(exact.pricing_page_view, paths.pricing_page_view, false) as pricing_page_view
    from {{ events_of(days, everyone, of_events) }}
    {{ catalogued_as('exact', 'left') }}
    {{ catalogued_as('paths', 'left') }} and exact.event_key is null
    left join feature_numbers on coalesce(events.feature, exact.feature, paths.feature) = feature_numbers.feature

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
        bool_or(pricing_page_view) as has_pricing_view,
        bit_or({{ bit_of('feature_number') }}) as feature_bits
    from events
    group by user_id, day, session_id, group_id

),

-- On a day without any session id a gap ends a session. A gap of exactly the limit doesn't.
undivided_days as (

    select user_id, day from parts group by user_id, day having count(session_id) = 0

),

gaps as (

    select
        events.user_id,
        events.day,
        events.occurred_at,
        events.pricing_page_view,
        lag(events.occurred_at) over (partition by events.user_id, events.day order by events.occurred_at) as previous_at
    from events
    inner join undivided_days on events.user_id = undivided_days.user_id and events.day = undivided_days.day
    where events.session_id is null

),

-- Events of one moment are in one session, whichever of them comes first here or above: hence a range and no rows.
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
            partition by user_id, day order by occurred_at range between unbounded preceding and current row
        ) as session_number
    from gaps
    cross join settings

),

-- A session id is a session of its day; none crosses midnight. What has none counts, but is no session.
sessions as (

    select
        user_id,
        day,
        session_id is not null as is_session,
        sum(events) as events,
        sum(actions) as actions,
        min(first_at) as first_at,
        max(last_at) as last_at,
        bool_or(has_pricing_view) as has_pricing_view,
        bit_or(feature_bits) as feature_bits
    from parts
    group by user_id, day, session_id
    union all
    select user_id, day, true, 0, 0, min(occurred_at), max(occurred_at), bool_or(pricing_page_view), null
    from numbered
    group by user_id, day, session_number

),

event_days as (

    select
        user_id,
        day,
        cast(sum(events) as bigint) as events,
        cast(sum(actions) as bigint) as actions,
        min(first_at) as first_event_at,
        max(last_at) as last_event_at,
        count(*) filter (where is_session) as sessions,
        cast(sum(greatest(
            {{ microseconds_between('first_at', 'last_at') }}, min_session_microseconds
        )) filter (where is_session) as bigint) as session_microseconds,
        count(*) filter (where is_session and has_pricing_view) as pricing_sessions,
        bit_or(feature_bits) as feature_bits
    from sessions
    cross join settings
    group by user_id, day

),

-- A list is made of each set that there is, not of each day: collecting and sorting texts takes twice as long.
feature_sets as (

    select feature_bits, {{ sorted_list('feature') }} as features
    from (select distinct feature_bits from event_days)
    inner join (select * from feature_numbers where number < {{ bits() }}) as numbers
        on feature_bits & {{ bit_of('number') }} <> 0
    group by feature_bits

),

-- They stand in their order: all of these come after all that have a bit.
more_features as (

    select user_id, day, {{ sorted_list('feature') }} as features
    from (select distinct user_id, day, feature_number as number from events where feature_number >= {{ bits() }})
    inner join feature_numbers using (number)
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

-- The few events that feed a signal are looked for by themselves.
signal_events as {{ materialized() }} (

    {%- for matched in ['exact', 'paths'] %}
    {{ 'union all' if not loop.first }}
    select
        events.user_id,
        events.day,
        events.occurred_at,
        events.received_at,
        events.message_id,
        events.integration,
        events.status,
        {%- for signal in signals() %}
        {{ matched }}.{{ signal }},
        {%- endfor %}
        {{ matched }}.setup_steps
    from {{ events_of(days, everyone, of_events) }}
    {{ catalogued_as(matched, 'inner') }} and {{ matched }}.has_signal
    {%- if matched == 'paths' %}
    {{ catalogued_as('exact', 'left') }}
    where exact.event_key is null
    {%- endif %}
    {%- endfor %}

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

signal_counts as (

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

),

signal_days as (

    select signal_counts.*, integration_days.integrations, step_days.setup_steps
    from signal_counts
    left join integration_days
        on signal_counts.user_id = integration_days.user_id and signal_counts.day = integration_days.day
    left join step_days on signal_counts.user_id = step_days.user_id and signal_counts.day = step_days.day

),

identify_events as (

    select
        events.user_id,
        events.day,
        {{ email_of(json_text('events.traits', "'email'")) }} as email,
        {{ person_name('events.traits') }} as user_name,
        row_number() over (
            partition by events.user_id, events.day order by events.occurred_at, events.received_at, events.message_id
        ) as position
    from {{ events_of(days, everyone, of_events) }}
    where events.identifies and events.traits is not null

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

)

select
    event_days.user_id,
    event_days.day,
    event_days.events,
    event_days.actions,
    event_days.first_event_at,
    event_days.last_event_at,
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
    case
        when more_features.features is null then feature_sets.features
        else {{ both_of('feature_sets.features', 'more_features.features') }}
    end as features,
    event_days.sessions,
    coalesce(event_days.session_microseconds, 0) as session_microseconds,
    event_days.pricing_sessions,
    signal_days.integrations,
    signal_days.setup_steps,
    group_days.groups,
    trait_days.email,
    trait_days.user_name
from event_days
left join signal_days on event_days.user_id = signal_days.user_id and event_days.day = signal_days.day
left join feature_sets on event_days.feature_bits = feature_sets.feature_bits
left join more_features on event_days.user_id = more_features.user_id and event_days.day = more_features.day
left join group_days on event_days.user_id = group_days.user_id and event_days.day = group_days.day
left join trait_days on event_days.user_id = trait_days.user_id and event_days.day = trait_days.day
{% endmacro %}

{# How many bits a whole number has for numbers. #}
{% macro bits() %}60{% endmacro %}

{# The bit that stands for a number from 0 on; NULL for one that has none. #}
{% macro bit_of(number) -%}
case when {{ number }} < {{ bits() }} then cast(1 as bigint) << {{ number }} end
{%- endmacro %}

{# The events of these days, as a relation `events` in a `from`. #}
{% macro events_of(days, everyone, of_events) -%}
{%- if everyone -%}
(select events.* from {{ of_events or ref('int_user_events') }} as events where ({{ days }})) as events
{%- else -%}
touched_events as events
{%- endif -%}
{%- endmacro %}

{# What the catalogue says of `events` by their names (`exact`) or, where these are not listed, by their paths. #}
{% macro catalogued_as(matched, how) -%}
{{ how }} join {{ matched }}
    {%- if matched == 'exact' %}
        on events.event_key = exact.event_key
        and case when events.event_type = 'screen' then 'page' else events.event_type end = exact.match
    {%- else %}
        on events.event_type in ('page', 'screen') and events.path_key = paths.path_key
    {%- endif %}
{%- endmacro %}
