select subject_type, subject_id, account_id, day, model_version, score, classification, segment, signals
from {{ source('scores', 'daily_scores') }}
