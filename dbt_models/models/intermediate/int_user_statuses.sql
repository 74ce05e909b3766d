{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        tags=['delta'],
        pre_hook="{{ forget_touched() }}",
    )
}}

{#- Reading only traits that mention it keeps this cheap. -#}
{%- set said %}
    select user_id, occurred_at, received_at, message_id, traits
    from {{ ref('int_user_traits') }}
    where traits like '%ubscription%' and {{ only_touched('user_key') }}
{%- endset %}
select *, {{ key_of('user_id') }} as user_key from ({{ subscription_statuses(said, 'user_id') }})
