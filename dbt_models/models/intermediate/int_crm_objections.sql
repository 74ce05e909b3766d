-- Who must not be contacted by address and by domain, as the newest versions say: a contact or an account may be known only
-- after the moment scored, be it a past one or because its CRM dates records ahead, and has said no all the same.
with no_contact as (

    select * from {{ ref('int_crm_no_contact') }} where not is_gone

),

-- Of several contacts with one address the newest counts.
contacts as (

    select
        contacts.email,
        no_contact.email_opt_out,
        no_contact.do_not_contact,
        row_number() over (
            partition by contacts.email order by contacts.updated_at desc nulls last, contacts.contact_id
        ) as position
    from no_contact
    inner join {{ ref('stg_crm__contacts') }} as contacts on no_contact.version_id = contacts.version_id
    where contacts.email is not null

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
where position = 1 and (email_opt_out or do_not_contact)

union all

select distinct 'domain:' || registrable_domain as subject, false as email_opt_out, true as do_not_contact
from accounts
