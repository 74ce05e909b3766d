select excluded.user_id, excluded.email, excluded.reason
from {{ ref('excluded_users') }} as excluded
inner join {{ source('raw', 'moments') }} as moments on excluded.as_of = moments.as_of and moments.is_live
