{{ config(materialized='incremental', incremental_strategy='append', on_schema_change='fail', tags=['delta']) }}
-- The few events that say something about who somebody is, kept apart so that nobody has to look for them among all events.
select
    message_id,
    case when event_type = 'group' then 'group' else 'identify' end as event_type,
    user_id,
    anonymous_id,
    group_id,
    traits,
    {{ key_of('user_id') }} as user_key,
    occurred_at,
    received_at,
    batch_id
from {{ ref('stg_product__events') }}
where (identifies or event_type = 'group')
{%- if is_incremental() %}
    and batch_id > {{ rolled_up_to().batch_id }}
    and batch_id > (select coalesce(max(batch_id), 0) from {{ this }})
{%- endif %}
