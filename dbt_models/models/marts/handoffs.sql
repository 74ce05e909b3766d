select
    handoff_id,
    user_id,
    account_id,
    trigger,
    triggers,
    priority,
    handoff_type,
    recipient_id,
    due_at,
    package_markdown,
    status,
    created_at,
    candidate_key,
    classification
from {{ source('ops', 'handoffs') }}
