select
    delivery_id,
    destination,
    object_type,
    object_id,
    operation,
    status,
    attempts,
    error,
    payload_hash,
    requested_at,
    confirmed_at
from {{ source('ops', 'deliveries') }}
