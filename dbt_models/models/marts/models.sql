select
    name,
    role,
    model_version,
    about,
    judged_on,
    segments
from {{ source('scores', 'models') }}
