{{ config(materialized='view') }}
-- An identification that names a user is that user's; one that names none is that of whoever its anonymous id is.
with events as {{ not_materialized() }} (

    select * from {{ ref('int_trait_events') }} where event_type = 'identify' and traits is not null

)

select user_id, user_key, message_id, traits, occurred_at, received_at
from events
where user_id is not null
union all
select identities.user_id, identities.user_key, events.message_id, events.traits, events.occurred_at, events.received_at
from events
inner join {{ ref('int_anonymous_identities') }} as identities on events.anonymous_id = identities.anonymous_id
where events.user_id is null
