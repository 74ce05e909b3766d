{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        tags=['delta'],
        pre_hook="{{ forget_touched('accounts') }}",
    )
}}
with moments as (

    select as_of, until from {{ source('raw', 'moments') }}

),

users as (

    select * from {{ touched_rows(ref('user_features'), of='account_keys') }} as features where account_id is not null

),

crm_accounts as (

    select * from {{ ref('int_crm_accounts') }} where not is_deleted and {{ only_touched('account_id', 'accounts') }}

),

-- When the CRM first said a status, and when first that the account pays, deleted since or not.
crm_statuses as (

    select as_of, account_id, first_status_at, first_paying_at
    from {{ ref('int_crm_accounts') }}
    where {{ only_touched('account_id', 'accounts') }}

),

deleted_accounts as (

    select as_of, account_id, name from {{ ref('int_crm_accounts') }} where is_deleted

),

deleted_domains as (

    select distinct as_of, registrable_domain
    from {{ ref('int_crm_accounts') }}
    where is_deleted and registrable_domain is not null

),

catalogue as (

    select distinct feature from {{ ref('int_catalog_entries') }} where feature is not null

),

-- An account that was deleted in the CRM is the product's own while it has users.
account_ids as (

    select as_of, account_id, case when account_id like 'domain:%' then substr(account_id, 8) end as own_domain
    from (
        select as_of, account_id from users
        union
        select as_of, account_id from crm_accounts
    )
    where {{ only_touched('account_id', 'accounts') }}

),

members as (

    select
        as_of,
        account_id,
        count(*) as users,
        count(*) filter (where active_in_window) as active_users_30d,
        count(*) filter (where active_before_window) as active_users_before,
        count(distinct lower(contact_department)) filter (where active_in_window) as departments,
        -- Rounded far below any threshold, so that the order of summation never shows.
        round(avg(sessions_per_week) filter (where active_in_window), 9) as mean_sessions_per_week,
        sum(team_invites) as team_invites,
        sum(limit_hit) as limit_hits,
        sum(seat_added) as seats_added,
        sum(upgrade_click) as upgrade_clicks,
        max(last_active_at) as last_active_at,
        min(first_paying_at) as first_paying_at
    from users
    group by as_of, account_id

),

features as (

    select
        used.as_of,
        used.account_id,
        {{ distinct_values('used.feature') }} as features_used,
        count(distinct catalogue.feature) as catalogue_features_used
    from (
        select distinct as_of, account_id, {{ each_of('features_used') }} as feature from users
    ) as used
    left join catalogue on used.feature = catalogue.feature
    group by used.as_of, used.account_id

),

-- The member who said it last speaks for the account.
member_statuses as (

    select as_of, account_id, subscription_status, subscription_status_since
    from (
        select
            *,
            row_number() over (
                partition by as_of, account_id order by subscription_status_since desc, user_id
            ) as position
        from users
        where subscription_status is not null
    )
    where position = 1

),

group_names as (

    select as_of, group_id, {{ latest_value('name', 'position') }} as name
    from (
        select
            moments.as_of,
            events.group_id,
            {{ text_of(json_text('events.traits', "'name'")) }} as name,
            row_number() over (
                partition by moments.as_of, events.group_id
                order by events.occurred_at, events.received_at, events.message_id
            ) as position
        from {{ ref('int_trait_events') }} as events
        inner join moments on events.occurred_at <= moments.until
        where events.event_type = 'group' and events.group_id is not null and events.traits like '%name%'
            and {{ only_touched('events.group_id', 'accounts') }}
    )
    group by as_of, group_id

),

opportunities as (

    select
        as_of,
        account_id,
        bool_or(is_open) as has_open_opportunity,
        bool_or(is_won) as has_won_opportunity,
        min(case when open_position = 1 and is_open then opportunity_id end) as open_opportunity_id
    from (
        select
            *,
            row_number() over (
                partition by as_of, account_id, is_open order by created_at desc nulls last, opportunity_id
            ) as open_position
        from {{ ref('int_crm_opportunities') }}
    )
    where account_id is not null
    group by as_of, account_id

),

suppressions as (

    select * from {{ ref('int_suppressions') }}

)

select
    account_ids.as_of,
    account_ids.account_id,
    crm_accounts.account_id is not null as in_crm,

    -- firmographics; NULL is unknown
    coalesce(
        crm_accounts.name,
        group_names.name,
        deleted_accounts.name,
        account_ids.own_domain,
        account_ids.account_id
    ) as name,
    coalesce(crm_accounts.domain, account_ids.own_domain) as domain,
    crm_accounts.employee_count,
    crm_accounts.industry,
    {{ split_list('crm_accounts.tech_stack', ';') }} as tech_stack,
    crm_accounts.department_count,
    crm_accounts.estimated_acv,
    crm_accounts.contract_value,
    {%- for field in ['account_tier', 'owner_id'] %}
    case
        when our_{{ field }}.account_id = crm_accounts.account_id
            and our_{{ field }}.extracted is not distinct from crm_accounts.{{ field }}
            then our_{{ field }}.stands
        else crm_accounts.{{ field }}
    end as {{ field }},
    {%- endfor %}
    crm_accounts.lifecycle_stage,
    crm_accounts.plan,
    coalesce(
        crm_accounts.subscription_status, group_statuses.status, member_statuses.subscription_status
    ) as subscription_status,
    case
        when crm_accounts.subscription_status is not null then crm_accounts.subscription_status_since
        when group_statuses.status is not null then group_statuses.since
        else member_statuses.subscription_status_since
    end as subscription_status_since,
    -- Ever, whatever was said since. A voice counts while none that goes before it has spoken.
    crm_statuses.first_paying_at is not null
    or coalesce(
        group_statuses.first_paying_at < coalesce(crm_statuses.first_status_at, timestamp '9999-12-31 00:00:00'), false
    )
    or coalesce(
        members.first_paying_at < coalesce(
            least(crm_statuses.first_status_at, group_statuses.first_said_at), timestamp '9999-12-31 00:00:00'
        ),
        false
    ) as was_paying,
    coalesce(crm_accounts.is_target_account, false) as is_target_account,
    coalesce(
        crm_accounts.do_not_contact or accounts_now.do_not_contact or domain_now.do_not_contact, false
    ) as do_not_contact,
    coalesce(by_host.reason, by_domain.reason) as suppression_reason,
    deleted_accounts.account_id is not null
    or deleted_domains.registrable_domain is not null
    or coalesce(accounts_now.is_gone, false) as is_deleted,
    crm_accounts.segment_override,
    crm_accounts.custom_fields,
    crm_accounts.updated_at,

    -- members
    coalesce(members.users, 0) as users,
    coalesce(members.active_users_30d, 0) as active_users_30d,
    coalesce(members.active_users_before, 0) as active_users_before,
    coalesce(members.departments, 0) as departments,

    -- depth
    coalesce(features.catalogue_features_used, 0) as catalogue_features_used,
    (select count(*) from catalogue) as catalogue_features,
    coalesce(members.mean_sessions_per_week, 0) as mean_sessions_per_week,
    coalesce(features.features_used, {{ empty_list() }}) as features_used,

    -- momentum in the window
    cast(coalesce(
        members.team_invites + members.limit_hits + members.seats_added + members.upgrade_clicks, 0
    ) as bigint) as expansion_signals,
    cast(coalesce(members.team_invites, 0) as bigint) as team_invites,
    cast(coalesce(members.limit_hits, 0) as bigint) as limit_hits,
    cast(coalesce(members.seats_added, 0) as bigint) as seats_added,
    cast(coalesce(members.upgrade_clicks, 0) as bigint) as upgrade_clicks,

    -- sales
    coalesce(opportunities.has_open_opportunity, false) as has_open_opportunity,
    opportunities.open_opportunity_id,
    coalesce(opportunities.has_won_opportunity, false) as has_won_opportunity,
    members.last_active_at
from account_ids
left join crm_accounts on account_ids.as_of = crm_accounts.as_of and account_ids.account_id = crm_accounts.account_id
{%- for field in ['account_tier', 'owner_id'] %}
left join {{ source('raw', 'crm_set_by_rules') }} as our_{{ field }}
    on our_{{ field }}.name = '{{ field }}' and account_ids.account_id = our_{{ field }}.account_id
{%- endfor %}
left join crm_statuses on account_ids.as_of = crm_statuses.as_of and account_ids.account_id = crm_statuses.account_id
left join deleted_accounts
    on account_ids.as_of = deleted_accounts.as_of and account_ids.account_id = deleted_accounts.account_id
left join deleted_domains
    on account_ids.as_of = deleted_domains.as_of and account_ids.own_domain = deleted_domains.registrable_domain
left join {{ ref('int_crm_no_contact') }} as accounts_now
    on accounts_now.entity = 'accounts' and account_ids.account_id = accounts_now.key
left join {{ ref('int_crm_objections') }} as domain_now on domain_now.subject = 'domain:' || account_ids.own_domain
left join members on account_ids.as_of = members.as_of and account_ids.account_id = members.account_id
left join features on account_ids.as_of = features.as_of and account_ids.account_id = features.account_id
left join {{ ref('int_group_statuses') }} as group_statuses
    on account_ids.as_of = group_statuses.as_of and account_ids.account_id = group_statuses.account_id
left join member_statuses
    on account_ids.as_of = member_statuses.as_of and account_ids.account_id = member_statuses.account_id
left join group_names on account_ids.as_of = group_names.as_of and account_ids.account_id = group_names.group_id
left join opportunities
    on account_ids.as_of = opportunities.as_of and account_ids.account_id = opportunities.account_id
left join suppressions as by_host
    on by_host.suppression_key = 'domain:' || coalesce(crm_accounts.host, account_ids.own_domain)
left join suppressions as by_domain on by_domain.suppression_key = 'domain:' || crm_accounts.registrable_domain
