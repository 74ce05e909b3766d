{{ config(tags=['crm']) }}
-- Who must not be contacted by address and by domain, as the newest versions say: a contact or an account may be known only
-- after the moment scored, be it a past one or because its CRM dates records ahead, and has said no all the same.
with no_contact as (

    select * from {{ ref('int_crm_no_contact') }} where not is_gone

),

-- A field may name several addresses, or domains, and a no is said of each. Of several contacts with one address one is the
-- user's; what any of them says is said of the address.
said as (

    select
        no_contact.entity,
        no_contact.email_opt_out,
        no_contact.do_not_contact,
        {{ json_text('versions.payload', "'email'") }} as email,
        {{ json_text('versions.payload', "'domain'") }} as domain
    from no_contact
    inner join {{ source('raw', 'crm_versions') }} as versions on no_contact.version_id = versions.version_id
    where no_contact.email_opt_out or no_contact.do_not_contact

),

-- A row that nobody can read may say no, until a complete extract comes that is later. It is looked for by its file's name:
-- what was refused before is not written down again, so that what stood in a file and does no more can't be told from what
-- still does.
complete as (

    select entity, max(extract_at) as extract_at
    from {{ source('raw', 'crm_extracts') }}
    where is_complete and entity in ('accounts', 'contacts')
    group by entity

),

newest_files as (

    select distinct files.source, files.path
    from complete
    inner join {{ source('raw', 'files') }} as files
        on files.source = 'crm.' || complete.entity and files.extract_at >= complete.extract_at
    where files.quarantined > 0

),

unread as (

    select quarantine.source, quarantine.raw as said
    from {{ source('raw', 'quarantine') }} as quarantine
    inner join newest_files on quarantine.source = newest_files.source and quarantine.file = newest_files.path
    where quarantine.raw is not null

),

addresses as (

    select {{ email_of('email') }} as email, email_opt_out, do_not_contact from said where entity = 'contacts'

    union all

    select {{ each_of(addresses_of('email')) }} as email, email_opt_out, do_not_contact from said where entity = 'contacts'

    union all

    select {{ each_of(addresses_of('said')) }} as email, false as email_opt_out, true as do_not_contact from unread

),

contacts as (

    select email, bool_or(email_opt_out) as email_opt_out, bool_or(do_not_contact) as do_not_contact
    from addresses
    where email is not null
    group by email

),

hosts as (

    select {{ host_of('domain') }} as host from said where entity = 'accounts' and do_not_contact

    union all

    select {{ host_of('part') }} as host
    from (
        select {{ each_of(parts_of('domain', '[\\s,;|]+')) }} as part from said where entity = 'accounts' and do_not_contact

        union all

        select {{ each_of(parts_of("regexp_replace(said, '\\S+@\\S+', '', 'g')", '[\\s,;|"{}]+')) }} as part
        from unread
        where source = 'crm.accounts'
    )

),

accounts as (

    select domains.registrable_domain
    from hosts
    inner join {{ source('raw', 'email_domains') }} as domains on hosts.host = domains.domain
    where domains.registrable_domain is not null

)

select 'email:' || email as subject, email_opt_out, do_not_contact
from contacts
where email_opt_out or do_not_contact

union all

select distinct 'domain:' || registrable_domain as subject, false as email_opt_out, true as do_not_contact
from accounts
