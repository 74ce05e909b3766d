{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        tags=['delta'],
        pre_hook="{{ forget_touched() }}",
    )
}}
with moments as (

    select as_of, day from {{ source('raw', 'moments') }}

),

settings as (

    select * from {{ ref('stg_playbook__settings') }}

),

catalogue as (

    select count(distinct step) as steps
    from (select {{ each_of('setup_steps') }} as step from {{ ref('int_catalog_entries') }} where setup_step)

),

identities as (

    select identities.*
    from {{ touched_rows(ref('int_user_identities')) }} as identities
    left join {{ ref('excluded_users') }} as excluded
        on identities.as_of = excluded.as_of and identities.user_id = excluded.user_id
    where excluded.user_id is null

),

contacts as (

    select *
    from {{ ref('int_crm_contacts') }}
    where not is_deleted and {{ only_named('contact_id', 'identities') }}

),

accounts as (

    select *
    from {{ ref('int_crm_accounts') }}
    where not is_deleted and {{ only_named('account_id', 'identities') }}

),

-- Tickets about limits in the window, by the contact or by the address; each counts once.
tickets as (

    select records.as_of, tickets.ticket_id, tickets.contact_id, tickets.email, tickets.created_at, tickets.status
    from {{ ref('int_crm_records') }} as records
    inner join {{ ref('stg_crm__tickets') }} as tickets on records.version_id = tickets.version_id
    inner join moments on records.as_of = moments.as_of
    cross join settings
    where records.entity = 'tickets'
        and not records.is_deleted
        and tickets.category = 'limits'
        and tickets.created_at <= records.until
        and cast(tickets.created_at as date) > {{ days_before('moments.day', 'settings.window_days') }}

),

user_tickets as (

    select
        as_of,
        user_id,
        count(*) as tickets,
        max(created_at) as last_ticket_at,
        {{ ordered_list(struct_of({'created_at': 'created_at', 'status': 'status'}), 'created_at, ticket_id') }} as limit_tickets
    from (
        select identities.as_of, identities.user_id, tickets.ticket_id, tickets.created_at, tickets.status
        from identities
        inner join tickets on identities.as_of = tickets.as_of and identities.contact_id = tickets.contact_id
        union
        select identities.as_of, identities.user_id, tickets.ticket_id, tickets.created_at, tickets.status
        from identities
        inner join tickets on identities.as_of = tickets.as_of and identities.email = tickets.email
    )
    group by as_of, user_id

),

opportunities as (

    select * from {{ ref('int_crm_opportunities') }}

),

-- A company may have thousands of each: what its users have in common is found once.
account_opportunities as (

    select as_of, account_id, bool_or(is_open) as is_open, bool_or(is_won) as is_won
    from opportunities
    group by as_of, account_id

),

user_opportunities as (

    select as_of, user_id, bool_or(is_open) as has_open_opportunity, bool_or(is_won) as has_won_opportunity
    from (
        select identities.as_of, identities.user_id, opportunities.is_open, opportunities.is_won
        from identities
        inner join opportunities
            on identities.as_of = opportunities.as_of and identities.contact_id = opportunities.contact_id
        union all
        select identities.as_of, identities.user_id, found.is_open, found.is_won
        from identities
        inner join account_opportunities as found
            on identities.as_of = found.as_of and identities.account_id = found.account_id
    )
    group by as_of, user_id

),

account_opportunities_ever as (

    select as_of, account_id, bool_or(was_won) as was_won
    from {{ ref('int_crm_opportunities_ever') }}
    group by as_of, account_id

),

user_opportunities_ever as (

    select as_of, user_id, bool_or(was_won) as had_won_opportunity
    from (
        select identities.as_of, identities.user_id, ever.was_won
        from identities
        inner join {{ ref('int_crm_opportunities_ever') }} as ever
            on identities.as_of = ever.as_of and identities.contact_id = ever.contact_id
        union all
        select identities.as_of, identities.user_id, ever.was_won
        from identities
        inner join account_opportunities_ever as ever
            on identities.as_of = ever.as_of and identities.account_id = ever.account_id
    )
    group by as_of, user_id

),

-- Who wants no more mail wants none under any of their user ids: the words of everybody with the address, whom we don't score
-- among them. By the address is by the contact as well, since it is what finds the contact.
mail_words as (

    select
        as_of,
        email,
        max(last_unsubscribe_at) as last_unsubscribe_at,
        max(last_resubscribe_at) as last_resubscribe_at
    from {{ ref('int_user_measures') }}
    where (last_unsubscribe_at is not null or last_resubscribe_at is not null)
        and email in (select email from identities)
    group by as_of, email

),

suppressions as (

    select * from {{ ref('int_suppressions') }}

),

contacts_now as (

    select *
    from {{ ref('int_crm_no_contact') }}
    where entity = 'contacts' and {{ only_named('key', 'identities', 'contact_id') }}

),

accounts_now as (

    select *
    from {{ ref('int_crm_no_contact') }}
    where entity = 'accounts' and {{ only_named('key', 'identities', 'account_id') }}

),

objections as (

    select * from {{ ref('int_crm_objections') }}

)

select
    identities.as_of,
    identities.user_id,
    identities.user_key,
    {{ key_of('identities.account_id') }} as account_key,

    -- who
    identities.email,
    coalesce(contacts.name, measures.user_name) as user_name,
    identities.contact_id,
    contacts.name as contact_name,
    contacts.role as contact_role,
    contacts.department as contact_department,
    contacts.lifecycle_stage as contact_lifecycle_stage,
    contacts.owner_id as contact_owner_id,
    identities.account_id,
    identities.account_source,

    -- usage in the window
    measures.first_event_at,
    measures.last_active_at,
    cast({{ days_observed() }} as integer) as days_observed,
    measures.active_in_window,
    measures.active_before_window,
    cast(measures.sessions as bigint) as sessions,
    cast(measures.sessions as double) * 7 / {{ days_observed() }} as sessions_per_week,
    cast(measures.session_microseconds as double) / 60000000 as minutes,
    cast(measures.session_microseconds as double) * 7 / (60000000 * {{ days_observed() }}) as minutes_per_week,
    measures.features_used,
    cast(measures.actions as bigint) as actions,

    -- engagement
    cast(measures.team_invite as bigint) as team_invites,
    cast(measures.integrations as bigint) as integrations,
    case
        when measures.imports_complete > 0 then 'full'
        when measures.imports_partial > 0 then 'some'
        else 'none'
    end as data_imported,
    measures.setup_steps_done,
    catalogue.steps as setup_steps_total,
    case
        when catalogue.steps > 0 then cast({{ length_of('measures.setup_steps_done') }} as double) / catalogue.steps
        else 0
    end as setup_share,

    -- intent in the window
    {%- for signal in counted_signals() if signal not in ('team_invite', 'limit_support_contact') %}
    cast(measures.{{ signal }} as bigint) as {{ signal }},
    {%- endfor %}
    cast(measures.limit_support_contact + coalesce(user_tickets.tickets, 0) as bigint) as limit_support_contact,
    cast(measures.pricing_visits as bigint) as pricing_visits,
    {%- for column in dated_signals().values() if column != 'last_limit_contact_at' %}
    measures.{{ column }},
    {%- endfor %}
    greatest(measures.last_limit_contact_at, user_tickets.last_ticket_at) as last_limit_contact_at,
    coalesce(
        user_tickets.limit_tickets, {{ empty_list('struct(created_at timestamp, status varchar)') }}
    ) as limit_tickets,

    -- to date
    measures.first_invite_at,
    measures.first_integration_at,
    measures.first_import_at,
    measures.setup_steps,
    cast(measures.imports_failed as bigint) as imports_failed,
    cast(measures.imports_partial as bigint) as imports_partial,
    measures.integrations_connected,
    measures.reactivated_at,
    measures.previous_active_day,
    measures.last_day_before_lately,

    -- customer
    statuses.status as subscription_status,
    statuses.since as subscription_status_since,
    coalesce(user_opportunities.has_open_opportunity, false) as has_open_opportunity,
    coalesce(user_opportunities.has_won_opportunity, false) as has_won_opportunity,
    statuses.first_paying_at,
    user_opportunities_ever.user_id is not null as had_opportunity,
    coalesce(user_opportunities_ever.had_won_opportunity, false) as had_won_opportunity,

    -- may we write?
    coalesce(
        coalesce(mail_words.last_unsubscribe_at, measures.last_unsubscribe_at)
        >= coalesce(mail_words.last_resubscribe_at, measures.last_resubscribe_at, timestamp '0001-01-01 00:00:00'),
        false
    ) as is_unsubscribed,
    coalesce(contacts.email_opt_out or contacts_now.email_opt_out or address_now.email_opt_out, false) as email_opt_out,
    coalesce(
        contacts.do_not_contact or contacts_now.do_not_contact or address_now.do_not_contact, false
    ) as contact_do_not_contact,
    coalesce(
        accounts.do_not_contact or accounts_now.do_not_contact or domain_now.do_not_contact, false
    ) as account_do_not_contact,
    coalesce(by_email.reason, by_host.reason, by_domain.reason) as suppression_reason,
    identities.contact_deleted or coalesce(contacts_now.is_gone, false) as contact_deleted,
    identities.account_deleted or coalesce(accounts_now.is_gone, false) as account_deleted
from identities
inner join {{ touched_rows(ref('int_user_measures')) }} as measures
    on identities.as_of = measures.as_of and identities.user_id = measures.user_id
cross join settings
cross join catalogue
left join contacts on identities.as_of = contacts.as_of and identities.contact_id = contacts.contact_id
left join accounts on identities.as_of = accounts.as_of and identities.account_id = accounts.account_id
left join contacts_now on identities.contact_id = contacts_now.key
left join accounts_now on identities.account_id = accounts_now.key
left join objections as address_now on address_now.subject = 'email:' || identities.email
left join objections as domain_now
    on domain_now.subject = 'domain:' || identities.company_domain
    -- Of a group that the CRM does not know it is as good as of none.
    and (identities.account_source = 'domain' or (identities.account_source = 'group' and accounts.account_id is null))
left join mail_words on identities.as_of = mail_words.as_of and identities.email = mail_words.email
left join user_tickets on identities.as_of = user_tickets.as_of and identities.user_id = user_tickets.user_id
left join user_opportunities
    on identities.as_of = user_opportunities.as_of and identities.user_id = user_opportunities.user_id
left join user_opportunities_ever
    on identities.as_of = user_opportunities_ever.as_of and identities.user_id = user_opportunities_ever.user_id
left join {{ touched_rows(ref('int_user_statuses')) }} as statuses
    on identities.as_of = statuses.as_of and identities.user_id = statuses.user_id
left join suppressions as by_email on by_email.suppression_key = 'email:' || identities.email
left join suppressions as by_host on by_host.suppression_key = 'domain:' || identities.host
left join suppressions as by_domain on by_domain.suppression_key = 'domain:' || identities.registrable_domain
