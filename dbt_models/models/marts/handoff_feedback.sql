select
    feedback_id,
    handoff_id,
    label,
    answered_by,
    answered_at,
    until,
    source
from {{ source('ops', 'handoff_feedback') }}
