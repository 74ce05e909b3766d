{#- A rollup that starts anew takes every user-day anyway. -#}
{%- set starts_anew = rollup_starts_anew() -%}

with mark as (

    select max(batch_id) as batch_id, max(as_of) as as_of from {{ rollup_state('rollup_mark') }}

),

live as (

    select as_of from {{ source('raw', 'moments') }} where is_live

),

identities as (

    select * from {{ ref('int_anonymous_identities') }}

),

-- The new user and the one under whom the id was rolled up: what was taken from raw events is missed by the latter.
owners_of_anonymous_ids as (

    select anonymous_id, user_id from identities where user_id is not null
    union
    select anonymous_id, previous_user_id from identities where previous_user_id is not null

),

loaded as (

    select touched.user_id, touched.anonymous_id, touched.day
    from {{ source('raw', 'touched') }} as touched
    cross join mark
    where touched.batch_id > coalesce(mark.batch_id, 0)

),

-- Anonymous days of ids that changed hands since the rollup.
rehomed as (

    select distinct cast(null as varchar) as user_id, events.anonymous_id, events.day
    from {{ ref('stg_product__events') }} as events
    inner join identities on events.anonymous_id = identities.anonymous_id
    where events.user_id is null and identities.changed_in_batch is not null

),

-- The moment's own day counts up to the moment: when that moves, the rest of the old day comes in, that of the new one goes.
cut as (

    select distinct events.user_id, events.anonymous_id, events.day
    from {{ ref('stg_product__events') }} as events
    cross join live
    inner join mark on mark.as_of <> live.as_of
    where (events.day = cast(mark.as_of as date) and events.occurred_at > mark.as_of)
        or (events.day = cast(live.as_of as date) and events.occurred_at > live.as_of)

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
