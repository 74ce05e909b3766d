select owners.owner_id, owners.name, owners.email, owners.team, owners.is_active, owners.slack_user_id
from {{ ref('owners') }} as owners
inner join {{ source('raw', 'moments') }} as moments on owners.as_of = moments.as_of and moments.is_live
