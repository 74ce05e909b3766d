-- The account of a domain: of several the one with most contacts, then the smallest id. Disjoint spans per domain.
with accounts as (

    select
        row_number() over (order by account_id, from_day) as id,
        account_id,
        registrable_domain,
        from_day,
        to_day
    from {{ ref('past_accounts') }}
    where registrable_domain is not null

),

-- How many contacts an account has, only where it matters.
contested as (

    select registrable_domain from accounts group by registrable_domain having count(distinct account_id) > 1

),

contact_spans as (

    select contacts.account_id, contacts.from_day, contacts.to_day
    from {{ ref('past_contacts') }} as contacts
    where contacts.account_id in (
        select account_id from accounts where registrable_domain in (select registrable_domain from contested)
    )

),

contact_changes as (

    select account_id, change_day, sum(change) as change
    from (
        select account_id, from_day as change_day, 1 as change from contact_spans
        union all
        select account_id, to_day, -1 from contact_spans
    )
    group by account_id, change_day

),

contact_counts as (

    select
        account_id,
        change_day as from_day,
        lead(change_day, 1, {{ never() }}) over (partition by account_id order by change_day) as to_day,
        sum(change) over (partition by account_id order by change_day) as contacts
    from contact_changes

),

counted as (

    {{ cut_by('accounts', 'contact_counts', 'account_id', 'account_id', ['account_id', 'registrable_domain'],
              {'contacts': 'contacts'}) }}

)

{{ best_of('counted', 'registrable_domain', ['account_id'], 'coalesce(spans.contacts, 0) desc, spans.account_id') }}
