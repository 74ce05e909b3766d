select
    model_version,
    score_from,
    expected_close_rate
from {{ source('calibration', 'expected_rates') }}
