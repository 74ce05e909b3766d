{%- set columns = ['message_id', 'event_type', 'identifies', 'event_key', 'path_key', 'feature', 'integration', 'status', 'traits',
                   'session_id', 'group_id', 'occurred_at', 'day', 'received_at'] %}
-- The events of each version of such a user-day. The version takes the user's place, so that days are rolled up as ever.
-- Which events these are is found in few columns; only they are read in their whole width.
with versions as (

    select * from {{ ref('past_late_days') }}

),

events as {{ not_materialized() }} (

    select * from {{ ref('stg_product__events') }}

),

-- What was known by then of whom an anonymous id is.
identified as {{ materialized() }} (

    select versions.version_id, versions.day, identities.anonymous_id
    from versions
    inner join {{ ref('int_anonymous_identities') }} as identities
        on versions.user_id = identities.user_id and cast(identities.identified_at as date) <= versions.valid_from

),

held as {{ materialized() }} (

    select versions.version_id, events.event_row
    from events
    inner join versions on events.user_id = versions.user_id and events.day = versions.day
    union all
    select identified.version_id, events.event_row
    from events
    inner join identified on events.anonymous_id = identified.anonymous_id and events.day = identified.day
    where events.user_id is null

)

select cast(held.version_id as varchar) as user_id, events.{{ columns | join(', events.') }}
from events
inner join held on events.event_row = held.event_row
