select
    model_version,
    opportunity_id,
    account_id,
    won_at,
    path,
    best_score,
    qualified_on,
    days_ahead
from {{ source('calibration', 'coverage') }}
