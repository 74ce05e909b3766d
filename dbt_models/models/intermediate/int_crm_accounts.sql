{{ config(tags=['crm']) }}
with records as (

    select * from {{ ref('int_crm_records') }} where entity = 'accounts'

),

accounts as (

    select * from {{ ref('stg_crm__accounts') }}

),

-- Versions in the order in which they became known, and where the subscription status changed.
status_changes as (

    select account_id, known_from, may_stand_from, subscription_status, previous_status
    from (
        select
            accounts.account_id,
            known.known_from,
            known.may_stand_from,
            accounts.subscription_status,
            lag(accounts.subscription_status) over (
                partition by accounts.account_id order by known.known_from, known.extract_number
            ) as previous_status
        from accounts
        inner join {{ ref('int_crm_versions') }} as known on accounts.version_id = known.version_id
    )
    where subscription_status is distinct from previous_status

),

status_dates as (

    select
        records.as_of,
        records.key as account_id,
        max(status_changes.known_from) as since,
        min(status_changes.known_from) filter (where status_changes.subscription_status is not null) as first_said_at,
        min(status_changes.known_from) filter (where status_changes.subscription_status = 'paying') as first_paying_at
    from records
    inner join status_changes
        on records.key = status_changes.account_id and {{ is_seen_at('records', 'status_changes') }}
    group by records.as_of, records.key

),

domains as (

    select domain, registrable_domain from {{ source('raw', 'email_domains') }}

)

select
    records.as_of,
    accounts.*,
    {{ host_of('accounts.domain') }} as host,
    domains.registrable_domain,
    case
        when accounts.subscription_status is not null then nullif(status_dates.since, timestamp '0001-01-01 00:00:00')
    end as subscription_status_since,
    status_dates.first_said_at as first_status_at,
    status_dates.first_paying_at,
    records.is_deleted
from records
inner join accounts on records.version_id = accounts.version_id
left join status_dates on records.as_of = status_dates.as_of and accounts.account_id = status_dates.account_id
left join domains on {{ host_of('accounts.domain') }} = domains.domain
