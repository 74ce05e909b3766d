select
    decision_id,
    rule,
    subject_type,
    subject_id,
    user_id,
    account_id,
    occurrence,
    decision,
    reason,
    recipient_id,
    decided_at
from {{ source('ops', 'rule_decisions') }}
