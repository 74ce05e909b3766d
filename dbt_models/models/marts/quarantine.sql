select source, file, row_number, raw, reason, quarantined_at
from {{ source('raw', 'quarantine') }}
