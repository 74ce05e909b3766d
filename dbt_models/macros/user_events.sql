{# Raw events as staging has them. `events`: which ones, a relation like raw.events. #}
{% macro staged_events(events) %}
with source as (

    select *, rowid as event_row from {{ events }}

),

renamed as (

    select
        -- ids
        message_id,
        user_id,
        anonymous_id,
        group_id,
        session_id,

        -- what happened
        type as event_type,
        -- Whether it says who somebody is: rows of other types do where the file's mapping says so.
        type = 'identify' or identifies is not null as identifies,
        -- Column by column: a function of one column is computed once per distinct value.
        case when type = 'track' then lower(trim(event)) else lower(trim(name)) end as event_key,
        lower(path) as path_key,
        feature,
        integration,
        lower(status) as status,

        -- what was said about the user or the group: JSON
        traits,

        -- when
        timestamp as occurred_at,
        cast(timestamp as date) as day,
        coalesce(received_at, timestamp) as received_at,

        -- which load brought it, and where it stands
        batch_id,
        event_row
    from source

)

select * from renamed
{% endmacro %}

{#
  Product events with the user that each belongs to. An event that names no user belongs to whoever its anonymous id is.

  events: which ones, a relation like stg_product__events.
  identities: which anonymous ids are looked for, a relation like int_anonymous_identities.
  live: the live moment's `day` and `until`, as literals.
#}
{% macro user_events(events=none, identities=none, live=none) %}
{%- set events = events or ref('stg_product__events') %}
{%- set identities = identities or ref('int_anonymous_identities') %}
{%- set moment = ' from ' ~ source('raw', 'moments') ~ ' where is_live)' %}
{%- set live = live or {'day': '(select day' ~ moment, 'until': '(select until' ~ moment} %}
-- Only the live moment's own day is cut: later days are complete and wait for their moment.
-- Not kept, so that a reader's range of days reaches the scan.
with events as {{ not_materialized() }} (

    select *
    from {{ events }}
    where day <> {{ live.day }} or occurred_at <= {{ live.until }}

),

named as (

    select
        user_id,
        message_id,
        event_type,
        identifies,
        event_key,
        path_key,
        feature,
        integration,
        status,
        traits,
        session_id,
        group_id,
        occurred_at,
        day,
        received_at
    from events
    where user_id is not null

),

-- An event that names a user never asks whose its anonymous id is.
identified as (

    select
        identities.user_id,
        events.message_id,
        events.event_type,
        events.identifies,
        events.event_key,
        events.path_key,
        events.feature,
        events.integration,
        events.status,
        events.traits,
        events.session_id,
        events.group_id,
        events.occurred_at,
        events.day,
        events.received_at
    from events
    inner join {{ identities }} as identities on events.anonymous_id = identities.anonymous_id
    where events.user_id is null and identities.user_id is not null

)

select * from named
union all
select * from identified
{% endmacro %}

{# The live moment's `day`, its `until` and the end of its day, as literals. #}
{% macro live_moment() %}
  {% if not execute %}{{ return(none) }}{% endif %}
  {% set query %}
    select
      {{ literal_of('date', 'day', '%Y-%m-%d') }} as live_day,
      {{ literal_of('timestamp', 'until', '%Y-%m-%d %H:%M:%S.%f') }} as live_until,
      {{ literal_of('timestamp', 'until', '%Y-%m-%d 23:59:59.999999') }} as live_day_end
    from {{ source('raw', 'moments') }}
    where is_live
  {% endset %}
  {% set found = asked(query)[0] %}
  {{ return({'day': found.live_day, 'until': found.live_until, 'day_end': found.live_day_end}) }}
{% endmacro %}
