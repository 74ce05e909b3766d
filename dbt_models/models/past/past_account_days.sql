-- Accounts on each day with what they are scored by.
with states as (

    select * from {{ ref('past_user_states') }} where account_id is not null

),

identities as (

    select user_id, account_id, from_day, to_day from {{ ref('past_identities') }} where account_id is not null

),

crm_accounts as (

    select * from {{ ref('past_accounts') }}

),

there as (

    select account_id, from_day, to_day from identities
    union all
    select account_id, from_day, to_day from crm_accounts

),

account_days as (

    select account_id, {{ each_day('from_day', 'to_day') }} as day from ({{ disjoint('there', 'account_id') }})

),

members as (

    select
        account_id,
        day,
        count(*) filter (where active_in_window) as active_users_30d,
        count(*) filter (where active_before_window) as active_users_before,
        -- Rounded far below any threshold, so that the order of summation never shows.
        round(avg(sessions_per_week) filter (where active_in_window), 9) as mean_sessions_per_week,
        sum(team_invites + limit_hit + seat_added + upgrade_click) as expansion_signals
    from (
        select
            account_id,
            {{ each_day('from_day', 'to_day') }} as day,
            active_in_window,
            active_before_window,
            sessions_per_week,
            team_invites,
            limit_hit,
            seat_added,
            upgrade_click
        from states
        where active_in_window or active_before_window
    )
    group by account_id, day

),

active_departments as (

    select account_id, department, from_day, to_day from states where active_in_window and department is not null

),

departments as (

    select account_id, day, count(*) as departments
    from (
        select account_id, {{ each_day('from_day', 'to_day') }} as day
        from ({{ disjoint('active_departments', 'account_id, department') }})
    )
    group by account_id, day

),

catalogue as (

    select distinct feature from {{ ref('int_catalog_entries') }} where feature is not null

),

feature_uses as (

    select
        identities.account_id,
        uses.feature,
        greatest(identities.from_day, uses.from_day) as from_day,
        least(identities.to_day, uses.to_day) as to_day
    from {{ ref('past_feature_uses') }} as uses
    inner join catalogue on uses.feature = catalogue.feature
    inner join identities
        on uses.user_id = identities.user_id
        and uses.from_day < identities.to_day and identities.from_day < uses.to_day

),

features as (

    select account_id, day, count(*) as catalogue_features_used
    from (
        select account_id, {{ each_day('from_day', 'to_day') }} as day
        from ({{ disjoint('feature_uses', 'account_id, feature') }})
    )
    group by account_id, day

)

select
    account_days.account_id,
    account_days.day,
    crm_accounts.employee_count,
    crm_accounts.industry,
    {{ split_list('crm_accounts.tech_stack', ';') }} as tech_stack,
    crm_accounts.estimated_acv,
    crm_accounts.segment_override,
    coalesce(members.active_users_30d, 0) as active_users_30d,
    coalesce(members.active_users_before, 0) as active_users_before,
    coalesce(departments.departments, 0) as departments,
    coalesce(features.catalogue_features_used, 0) as catalogue_features_used,
    (select count(*) from catalogue) as catalogue_features,
    coalesce(members.mean_sessions_per_week, 0) as mean_sessions_per_week,
    cast(coalesce(members.expansion_signals, 0) as bigint) as expansion_signals
from account_days
left join crm_accounts
    on account_days.account_id = crm_accounts.account_id
    and crm_accounts.from_day <= account_days.day and account_days.day < crm_accounts.to_day
left join members on account_days.account_id = members.account_id and account_days.day = members.day
left join departments on account_days.account_id = departments.account_id and account_days.day = departments.day
left join features on account_days.account_id = features.account_id and account_days.day = features.day
