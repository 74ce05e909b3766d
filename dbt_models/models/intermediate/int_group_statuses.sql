{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        tags=['delta'],
        pre_hook="{{ forget_touched('accounts') }}",
    )
}}

{#- A group that is no account speaks for nobody, and is kept all the same: the CRM may know it tomorrow. -#}
{%- set said %}
    select group_id as account_id, occurred_at, received_at, message_id, traits
    from {{ ref('int_trait_events') }}
    where event_type = 'group' and group_id is not null and traits like '%ubscription%'
        and {{ only_touched('group_id', 'accounts') }}
{%- endset %}
{{ subscription_statuses(said, 'account_id') }}
