select
    members.user_id,
    members.contact_id,
    members.account_id,
    scores.email,
    members.playbook,
    members.next_step,
    members.reason,
    members.joined_at
from {{ source('ops', 'audience_members') }} as members
left join {{ source('scores', 'pql_scores') }} as scores on members.user_id = scores.user_id
where members.left_at is null
