{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        tags=['delta'],
        pre_hook="{{ forget_touched() }}",
    )
}}
{#- A delta looks for its rows once; what a full run reads twice it need not hold. -#}
{%- set once = materialized() if is_incremental() else not_materialized() %}

with measured as {{ once }} (

    select as_of, user_id, user_key, email, groups from {{ touched_rows(ref('int_user_measures')) }} as measures

),

measures as (

    select as_of, user_id, user_key, email, split_part(email, '@', 2) as host from measured

),

domain_kinds as (

    select distinct lower(trim(domain)) as domain
    from {{ source('raw', 'rule_domains') }}
    where kind in ('free_mail', 'disposable')

),

users as (

    select
        measures.*,
        domains.registrable_domain,
        case
            when by_host.domain is null and by_domain.domain is null then domains.registrable_domain
        end as company_domain
    from measures
    left join {{ source('raw', 'email_domains') }} as domains on measures.host = domains.domain
    left join domain_kinds as by_host on measures.host = by_host.domain
    left join domain_kinds as by_domain on domains.registrable_domain = by_domain.domain

),

accounts as (

    select * from {{ ref('int_crm_accounts') }}

),

-- user -> contact: deleted ones don't match, but it is told when only such a one is left.
matched as (

    select
        users.*,
        case when not contacts.is_deleted then contacts.contact_id end as contact_id,
        case when not contacts.is_deleted then contacts.account_id end as contact_account_id,
        coalesce(contacts.is_deleted, false) as contact_deleted
    from users
    left join (
        select * from {{ ref('int_crm_contacts_by_email') }} where {{ only_named('email', 'users') }}
    ) as contacts
        on users.as_of = contacts.as_of and users.email = contacts.email

),

-- user -> groups, latest first, those that the CRM knows apart from those that it doesn't.
user_groups as (

    select as_of, user_id, word.group_id as group_id, max(word.last_at) as last_at, max(word.last_received_at) as last_received_at
    from (
        select as_of, user_id, {{ each_of('groups') }} as word
        from measured
        where groups is not null
    )
    group by as_of, user_id, word.group_id

),

ranked_groups as (

    select
        user_groups.*,
        accounts.account_id is not null and not accounts.is_deleted as is_known,
        coalesce(accounts.is_deleted, false) as is_deleted,
        coalesce(accounts.do_not_contact, false) as said_no,
        row_number() over (
            partition by
                user_groups.as_of, user_groups.user_id, accounts.account_id is not null and not accounts.is_deleted
            order by user_groups.last_at desc, user_groups.last_received_at desc, user_groups.group_id
        ) as position_of_kind,
        row_number() over (
            partition by user_groups.as_of, user_groups.user_id
            order by user_groups.last_at desc, user_groups.last_received_at desc, user_groups.group_id
        ) as position
    from user_groups
    left join accounts
        on user_groups.as_of = accounts.as_of and user_groups.group_id = accounts.account_id

),

groups as (

    select
        as_of,
        user_id,
        max(case when is_known and position_of_kind = 1 then group_id end) as known_group_id,
        max(case when not is_known and position_of_kind = 1 then group_id end) as unknown_group_id,
        bool_or(is_deleted and position = 1) as latest_is_deleted,
        bool_or(is_deleted and said_no and position = 1) as deleted_said_no
    from ranked_groups
    group by as_of, user_id

),

deleted_domains as (

    select distinct as_of, registrable_domain from accounts where is_deleted and registrable_domain is not null

),

candidates as (

    select
        matched.*,
        groups.known_group_id,
        groups.unknown_group_id,
        case when not contact_accounts.is_deleted then contact_accounts.account_id end as live_contact_account_id,
        accounts_by_domain.account_id as domain_account_id,
        -- An account that was merged into another one is deleted as well; a no that it said stays.
        coalesce(groups.latest_is_deleted, false)
        and (
            groups.deleted_said_no
            or coalesce(contact_accounts.is_deleted, true)
            and (groups.known_group_id is not null or accounts_by_domain.account_id is null)
        )
        or coalesce(contact_accounts.is_deleted, false)
        -- Who has no other account in the CRM than one of their domain that was deleted.
        or (
            groups.known_group_id is null
            and contact_accounts.account_id is null
            and accounts_by_domain.account_id is null
            and deleted_domains.registrable_domain is not null
        ) as account_deleted
    from matched
    left join groups on matched.as_of = groups.as_of and matched.user_id = groups.user_id
    left join accounts as contact_accounts
        on matched.as_of = contact_accounts.as_of and matched.contact_account_id = contact_accounts.account_id
    left join {{ ref('int_crm_accounts_by_domain') }} as accounts_by_domain
        on matched.as_of = accounts_by_domain.as_of
        and matched.company_domain = accounts_by_domain.registrable_domain
    left join deleted_domains
        on matched.as_of = deleted_domains.as_of and matched.company_domain = deleted_domains.registrable_domain

),

-- The first that applies.
resolved as (

    select
        as_of,
        user_id,
        user_key,
        email,
        host,
        registrable_domain,
        company_domain,
        contact_id,
        contact_deleted,
        account_deleted,
        coalesce(
            known_group_id, live_contact_account_id, domain_account_id, unknown_group_id, 'domain:' || company_domain
        ) as account_id,
        case
            when known_group_id is not null then 'crm_group'
            when live_contact_account_id is not null then 'contact'
            when domain_account_id is not null then 'crm_domain'
            when unknown_group_id is not null then 'group'
            when company_domain is not null then 'domain'
            else 'none'
        end as account_source
    from candidates

)

select * from resolved
