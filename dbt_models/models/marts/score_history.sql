select subject_type, subject_id, score, classification, previous_score, reason, as_of, model_version, parts, contributions, causes
from {{ source('scores', 'score_history') }}
