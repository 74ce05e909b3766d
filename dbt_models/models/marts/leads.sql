-- Whom sellers may call. An owner of the contact goes before the account's, and one who is active before one who is not.
select
    scores.user_id,
    scores.account_id,
    coalesce(users.contact_name, users.user_name, scores.user_id) as person,
    scores.email,
    accounts.name as company,
    coalesce(of_contact.owner_id, of_account.owner_id, users.contact_owner_id, accounts.owner_id) as owner_id,
    scores.pql_score,
    scores.classification,
    scores.segment,
    scores.motion,
    scores.activation_stage,
    users.has_open_opportunity,
    scores.last_active_at
from {{ source('scores', 'pql_scores') }} as scores
inner join {{ ref('user_features') }} as users on scores.user_id = users.user_id
inner join {{ source('raw', 'moments') }} as moments on users.as_of = moments.as_of and moments.is_live
left join {{ ref('account_features') }} as accounts
    on scores.account_id = accounts.account_id and moments.as_of = accounts.as_of
left join {{ ref('owners') }} as of_contact
    on users.contact_owner_id = of_contact.owner_id and moments.as_of = of_contact.as_of and of_contact.is_active
left join {{ ref('owners') }} as of_account
    on accounts.owner_id = of_account.owner_id and moments.as_of = of_account.as_of and of_account.is_active
where scores.is_pql
    and not (
        users.is_unsubscribed or users.email_opt_out or users.contact_do_not_contact or users.account_do_not_contact
        or users.contact_deleted or users.account_deleted
    )
    and users.suppression_reason is null
    and accounts.suppression_reason is null
