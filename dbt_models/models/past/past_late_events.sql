{{ config(materialized='view') }}
-- The events of each version of such a user-day. The version takes the user's place, so that days are rolled up as ever.
with versions as (

    select * from {{ ref('past_late_days') }}

),

events as {{ not_materialized() }} (

    select * from {{ ref('stg_product__events') }}

),

named as (

    select versions.version_id, events.message_id
    from versions
    inner join events on versions.user_id = events.user_id and versions.day = events.day

),

identified as (

    select versions.version_id, events.message_id
    from versions
    inner join {{ ref('int_anonymous_identities') }} as identities
        on versions.user_id = identities.user_id and cast(identities.identified_at as date) <= versions.valid_from
    inner join events
        on identities.anonymous_id = events.anonymous_id and events.user_id is null and versions.day = events.day

)

select
    cast(held.version_id as varchar) as user_id,
    events.message_id,
    events.event_type,
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
from (select * from named union all select * from identified) as held
inner join events on held.message_id = events.message_id
where events.day in (select day from versions)
