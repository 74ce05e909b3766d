select
    model_version,
    subject_type,
    metric,
    value,
    low,
    high,
    note
from {{ source('calibration', 'summary') }}
