-- A row holds until the subject's next one.
select
    subject_type,
    subject_id,
    segment,
    motion,
    source,
    valid_from,
    lead(valid_from) over (partition by subject_type, subject_id order by valid_from) as valid_to
from {{ source('scores', 'segment_history') }}
