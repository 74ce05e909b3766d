select
    model_version,
    signal,
    verdict,
    auc,
    auc_low,
    auc_high,
    points_now,
    points_suggested,
    share_seen
from {{ source('calibration', 'signals') }}
