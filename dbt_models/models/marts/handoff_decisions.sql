select decision_id, candidate_key, handoff_id, user_id, account_id, triggers, priority, decision, reason, decided_at
from {{ source('ops', 'handoff_decisions') }}
