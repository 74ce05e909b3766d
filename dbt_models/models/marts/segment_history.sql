select subject_type, subject_id, segment, motion, source, valid_from, valid_to
from {{ source('scores', 'segment_history') }}
