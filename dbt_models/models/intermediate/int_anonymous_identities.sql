{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        tags=['delta'],
        pre_hook="{{ forget_newly_identified() }}",
    )
}}
-- depends_on: {{ ref('int_newly_identified') }}
with live as (

    select until from {{ source('raw', 'moments') }} where is_live

),

-- The first identification holds, whatever is said later.
first_identifications as (

    select anonymous_id, user_id, occurred_at as identified_at
    from (
        select
            events.anonymous_id,
            events.user_id,
            events.occurred_at,
            row_number() over (
                partition by events.anonymous_id
                order by events.occurred_at, events.received_at, events.message_id
            ) as position
        from {{ ref('int_trait_events') }} as events
        inner join live on events.occurred_at <= live.until
        where events.event_type = 'identify' and events.user_id is not null and events.anonymous_id is not null
        {%- if is_incremental() %}
            and {{ only_newly_identified() }}
        {%- endif %}
    )
    where position = 1

)

select *, {{ key_of('anonymous_id') }} as anonymous_key, {{ key_of('user_id') }} as user_key from first_identifications
