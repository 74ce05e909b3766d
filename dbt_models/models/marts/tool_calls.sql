select
    call_id,
    called_at,
    asked_by,
    tool,
    arguments,
    decision,
    reason,
    result_bytes,
    milliseconds,
    delivery_id
from {{ source('ops', 'tool_calls') }}
