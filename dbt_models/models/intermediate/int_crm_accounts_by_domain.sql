{{ config(tags=['crm']) }}
with accounts as (

    select * from {{ ref('int_crm_accounts') }} where not is_deleted and registrable_domain is not null

),

contact_counts as (

    select as_of, account_id, count(*) as contacts
    from {{ ref('int_crm_contacts') }}
    where not is_deleted and account_id is not null
    group by as_of, account_id

),

-- The one with most contacts, then the smallest id.
ranked as (

    select
        accounts.as_of,
        accounts.registrable_domain,
        accounts.account_id,
        row_number() over (
            partition by accounts.as_of, accounts.registrable_domain
            order by coalesce(contact_counts.contacts, 0) desc, accounts.account_id
        ) as position
    from accounts
    left join contact_counts
        on accounts.as_of = contact_counts.as_of and accounts.account_id = contact_counts.account_id

)

select as_of, registrable_domain, account_id
from ranked
where position = 1
