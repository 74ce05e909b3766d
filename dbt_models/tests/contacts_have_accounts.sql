{{ config(severity='warn', tags=['features']) }}
select contacts.contact_id, contacts.account_id
from {{ ref('int_crm_contacts') }} as contacts
inner join {{ source('raw', 'moments') }} as moments on contacts.as_of = moments.as_of and moments.is_live
left join {{ ref('int_crm_accounts') }} as accounts
    on contacts.as_of = accounts.as_of and contacts.account_id = accounts.account_id
where not contacts.is_deleted and contacts.account_id is not null and accounts.account_id is null
