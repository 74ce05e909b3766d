select
    handoff_id,
    contact_id,
    user_id,
    account_id,
    email,
    lifecycle_stage,
    status,
    paused_at,
    recycled_at,
    recycled_reason
from {{ source('ops', 'mql_overlap') }}
