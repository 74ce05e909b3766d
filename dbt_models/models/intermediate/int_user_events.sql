{{ config(materialized='view') }}

with live as (

    select until, day from {{ source('raw', 'moments') }} where is_live

),

-- Only the live moment's own day is cut: later days are complete and wait for their moment.
-- Not kept, so that a reader's range of days reaches the scan.
events as {{ not_materialized() }} (

    select *
    from {{ ref('stg_product__events') }}
    where day <> (select day from live) or occurred_at <= (select until from live)

),

named as (

    select
        user_id,
        message_id,
        event_type,
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
    inner join {{ ref('int_anonymous_identities') }} as identities on events.anonymous_id = identities.anonymous_id
    where events.user_id is null and identities.user_id is not null

)

select * from named
union all
select * from identified
