{{ config(tags=['delta']) }}
{#- Apart from int_user_days_touched, so that DuckDB knows how few they are when it looks for whose these days are. -#}
{%- set mark = rolled_up_to() %}
{%- set live = live_moment() %}

-- depends_on: {{ ref('int_newly_identified') }}
-- depends_on: {{ ref('stg_product__events') }}
-- What the rollup took an anonymous id for, and what it is known as now: what was taken from raw events is missed by the former.
with compared as (

    select
        coalesce(identities.anonymous_id, rolled_up.anonymous_id) as anonymous_id,
        identities.user_id,
        rolled_up.user_id as previous_user_id
    from (
        select * from {{ ref('int_anonymous_identities') }} where {{ only_newly_identified() }}
    ) as identities
    full outer join (
        select * from {{ rollup_state('rolled_up_identities') }} where {{ only_newly_identified() }}
    ) as rolled_up
        on identities.anonymous_id = rolled_up.anonymous_id

),

loaded as (

    select user_id, anonymous_id, day
    from {{ source('raw', 'touched') }}
    where batch_id > {{ mark.batch_id }}

),

-- Anonymous days of ids that changed hands since the rollup.
rehomed as (

    select touched.anonymous_id, touched.day, compared.previous_user_id
    from {{ source('raw', 'touched') }} as touched
    inner join compared on touched.anonymous_id = compared.anonymous_id
    where touched.user_id is null and compared.user_id is distinct from compared.previous_user_id

),

touched as (

    select user_id, anonymous_id, day from loaded
    union
    select null, anonymous_id, day from rehomed
    union
    select previous_user_id, null, day from rehomed where previous_user_id is not null
    {%- if mark.as_of and live %}
    -- The moment's own day counts up to the moment: when that moves, the rest of the old day comes in, that of the new one goes.
    {%- set events = 'select user_id, anonymous_id, day from ' ~ ref('stg_product__events') ~ ' where occurred_at > ' %}
    union
    {{ events ~ mark.as_of }} and occurred_at <= {{ mark.day_end }} and {{ live.until }} <> {{ mark.as_of }}
    union
    {{ events ~ live.until }} and occurred_at <= {{ live.day_end }} and {{ live.until }} <> {{ mark.as_of }}
    {%- endif %}

)

select user_id, anonymous_id, day
from touched
-- A rollup that starts anew takes every user-day anyway.
where {{ 'false' if rollup_starts_anew() else 'true' }}
