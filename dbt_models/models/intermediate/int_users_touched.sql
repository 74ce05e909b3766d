{{ config(tags=['delta']) }}
{#- Where they stood before: read before user_features changes, hence no ref, which would be a circle. -#}
{%- set before = adapter.get_relation(target.database, 'features', 'user_features') if execute -%}

select
    touched.user_id,
    {%- if before %}
    before.account_id as previous_account_id,
    before.contact_id as previous_contact_id
    {%- else %}
    cast(null as varchar) as previous_account_id,
    cast(null as varchar) as previous_contact_id
    {%- endif %}
from (select distinct user_id from {{ ref('int_user_days_touched') }}) as touched
{%- if before %}
left join (
    select features.user_id, features.account_id, features.contact_id
    from {{ rows_among(before, 'user_id', 'select user_id from ' ~ ref('int_user_days_touched')) }} as features
    inner join {{ source('raw', 'moments') }} as moments on features.as_of = moments.as_of and moments.is_live
) as before on touched.user_id = before.user_id
{%- endif %}
