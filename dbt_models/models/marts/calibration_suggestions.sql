select
    model_version,
    file,
    key,
    value,
    suggested
from {{ source('calibration', 'suggestions') }}
