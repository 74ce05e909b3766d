{{ config(tags=['delta']) }}
-- depends_on: {{ ref('int_user_history') }}
-- depends_on: {{ ref('int_user_days') }}
-- depends_on: {{ ref('stg_playbook__settings') }}
-- depends_on: {{ source('raw', 'crm_touched') }}
{#- Where they stood before: read before these change, hence no ref, which would be a circle. -#}
{%- set before = adapter.get_relation(target.database, 'features', 'user_features') if execute -%}
{%- set measures_before = adapter.get_relation(target.database, 'intermediate', 'int_user_measures') if before -%}
{#- A full run takes everybody anyway. -#}
{%- set with_namesakes = measures_before and not flags.FULL_REFRESH -%}
{#- What an earlier version made may have no numbers yet. -#}
{%- if flags.FULL_REFRESH -%}
{%- set rows_before = rows_among(before, 'user_id', 'select user_id from touched') -%}
{%- else -%}
{%- set rows_before = rows_among(before, 'user_key', 'select ' ~ key_of('user_id') ~ ' from touched') -%}
{%- endif -%}
{%- set spoken_of = 'select user_id from ' ~ ref('int_user_days_touched') %}
{%- set their_keys = 'select ' ~ key_of('user_id') ~ ' from ' ~ ref('int_user_days_touched') %}

with spoken_of as (

    select distinct user_id from {{ ref('int_user_days_touched') }}

),
{%- if with_namesakes %}
{%- set said = 'user_id, email, last_unsubscribe_at is not null or last_resubscribe_at is not null as is_about_mail' %}

-- They, and whoever shares a number with them.
known as {{ materialized() }} (

    select {{ said }} from {{ rows_among(measures_before, 'user_key', their_keys) }}

),

-- What they had said before, and what they have said now.
said as (

    select * from known
    union all
    select {{ said }} from {{ rows_among(ref('int_user_history'), 'user_key', their_keys) }}
    {%- for moment in measured_moments() %}
    union all
    select {{ said }} from {{ ref('int_user_days') }} where day = {{ moment.day }} and user_id in ({{ spoken_of }})
    {%- endfor %}

),

-- Whether mail is wanted holds for everybody with the address: others stand elsewhere by the words of these, or without them.
addresses as (

    select email
    from said
    where email is not null and user_id in (select user_id from said where is_about_mail)

),

namesakes as {{ materialized() }} (

    select user_key from {{ measures_before }} where email in (select email from addresses)

),
{%- endif %}

touched as (

    select user_id from spoken_of
    {%- if with_namesakes %}
    union
    select user_id from known
    union
    select user_id from {{ measures_before }} where user_key in (select user_key from namesakes)
    union
    select key from {{ source('raw', 'crm_touched') }} where kind = 'user'
    {%- endif %}

)

select
    touched.user_id,
    {{ key_of('touched.user_id') }} as user_key,
    {%- if before %}
    before.account_id as previous_account_id,
    before.contact_id as previous_contact_id
    {%- else %}
    cast(null as varchar) as previous_account_id,
    cast(null as varchar) as previous_contact_id
    {%- endif %}
from touched
{%- if before %}
left join (
    select features.user_id, features.account_id, features.contact_id
    from {{ rows_before }} as features
    inner join {{ source('raw', 'moments') }} as moments on features.as_of = moments.as_of and moments.is_live
) as before on touched.user_id = before.user_id
{%- endif %}
