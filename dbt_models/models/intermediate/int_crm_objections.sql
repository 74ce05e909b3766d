{{ config(tags=['crm']) }}
-- Who must not be contacted by address and by domain, as the newest versions say: a contact or an account may be known only
-- after the moment scored, be it a past one or because its CRM dates records ahead, and has said no all the same.
with no_contact as (

    select * from {{ ref('int_crm_no_contact') }} where not is_gone

),

-- Of several contacts with one address one is the user's; what any of them says is said of the address.
contacts as (

    select
        contacts.email,
        bool_or(no_contact.email_opt_out) as email_opt_out,
        bool_or(no_contact.do_not_contact) as do_not_contact
    from no_contact
    inner join {{ ref('stg_crm__contacts') }} as contacts on no_contact.version_id = contacts.version_id
    where contacts.email is not null
    group by contacts.email

),

accounts as (

    select domains.registrable_domain
    from no_contact
    inner join {{ ref('stg_crm__accounts') }} as accounts on no_contact.version_id = accounts.version_id
    inner join {{ source('raw', 'email_domains') }} as domains on {{ host_of('accounts.domain') }} = domains.domain
    where no_contact.do_not_contact and domains.registrable_domain is not null

)

select 'email:' || email as subject, email_opt_out, do_not_contact
from contacts
where email_opt_out or do_not_contact

union all

select distinct 'domain:' || registrable_domain as subject, false as email_opt_out, true as do_not_contact
from accounts
