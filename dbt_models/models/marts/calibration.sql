select
    model_version,
    dimension,
    value,
    leads,
    won,
    close_rate,
    lift,
    from_date,
    to_date,
    accounts,
    close_rate_low,
    close_rate_high
from {{ source('calibration', 'rates') }}
