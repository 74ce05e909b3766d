select
    model_version,
    subject_type,
    curve,
    position,
    x,
    y,
    y_low,
    y_high,
    leads
from {{ source('calibration', 'curves') }}
