{{ config(tags=['delta']) }}
{%- set mark = rolled_up_to(before_this_run=true) %}
-- Where touched users were and are, whom our rules have given an owner or a tier, and groups that new events speak of.
select previous_account_id as account_id from {{ ref('int_users_touched') }} where previous_account_id is not null
union
select features.account_id
from {{ rows_among(ref('user_features'), 'user_key', 'select user_key from ' ~ ref('int_users_touched')) }} as features
where features.account_id is not null
union
select key from {{ source('raw', 'crm_touched') }} where kind = 'account'
union
select account_id from {{ source('raw', 'crm_set_by_rules') }} where batch_id > {{ mark.batch_id }}
union
select group_id
from {{ ref('int_trait_events') }}
where event_type = 'group' and group_id is not null
    and (batch_id > {{ mark.batch_id }}{% if mark.as_of %} or occurred_at > {{ mark.as_of }}{% endif %})
