{{ config(tags=['delta']) }}
{#- A rollup that starts anew takes every user-day anyway. -#}
{%- set starts_anew = rollup_starts_anew() -%}
{%- set mark = rolled_up_to() %}

-- depends_on: {{ ref('int_newly_identified') }}
with live as (

    select until from {{ source('raw', 'moments') }} where is_live

),

-- What the rollup took an anonymous id for, and what it is known as now: what was taken from raw events is missed by the former.
compared as (

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

owners_of_anonymous_ids as (

    select anonymous_id, user_id from {{ ref('int_anonymous_identities') }} where user_id is not null
    union all
    select anonymous_id, previous_user_id from compared where previous_user_id is not null

),

loaded as (

    select user_id, anonymous_id, day
    from {{ source('raw', 'touched') }}
    where batch_id > {{ mark.batch_id }}

),

-- Anonymous days of ids that changed hands since the rollup.
rehomed as (

    select distinct cast(null as varchar) as user_id, touched.anonymous_id, touched.day
    from {{ source('raw', 'touched') }} as touched
    inner join compared on touched.anonymous_id = compared.anonymous_id
    where nullif(touched.user_id, '') is null and compared.user_id is distinct from compared.previous_user_id

),

-- The moment's own day counts up to the moment: when that moves, the rest of the old day comes in, that of the new one goes.
cut as (

    select distinct events.user_id, events.anonymous_id, events.day
    from {{ ref('stg_product__events') }} as events
    cross join live
    {%- if mark.as_of %}
    where live.until <> {{ mark.as_of }} and (
        (
            events.occurred_at > {{ mark.as_of }}
            and events.occurred_at <= {{ mark.day_end }}
        )
        or (events.day = cast(live.until as date) and events.occurred_at > live.until)
    )
    {%- else %}
    where false
    {%- endif %}

),

touched as (

    select * from loaded
    union
    select * from rehomed
    union
    select * from cut

),

resolved as (

    select nullif(user_id, '') as user_id, day from touched where nullif(user_id, '') is not null
    union
    select owners.user_id, touched.day
    from touched
    inner join owners_of_anonymous_ids as owners on touched.anonymous_id = owners.anonymous_id
    where nullif(touched.user_id, '') is null

)

select user_id, day
from resolved
where {{ 'false' if starts_anew else 'true' }}
