select
    label,
    handoffs,
    matured,
    won,
    close_rate,
    close_rate_low,
    close_rate_high
from {{ source('calibration', 'feedback') }}
