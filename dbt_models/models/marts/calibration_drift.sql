select
    model_version,
    feature,
    before_day,
    day,
    before_mean,
    mean,
    stability_index,
    verdict
from {{ source('calibration', 'drift') }}
