{%- set range = past_range() -%}
-- Who users were: e-mail, contact and account, by what was known on each day. Disjoint spans per user, from the first event on;
-- none while the user was excluded from scoring.
with known as (

    select user_id, min(from_day) as from_day from {{ ref('past_first_days') }} group by user_id

),

email_words as (

    select
        user_id,
        greatest(valid_from, {{ range.first }}) as from_day,
        max({{ struct_of({'day': 'day', 'valid_from': 'valid_from', 'email': 'email'}) }}) as latest
    from {{ ref('past_user_days') }}
    where email is not null and valid_from < {{ range.end }}
    group by user_id, from_day

),

email_changes as (

    select user_id, from_day, latest.email as email
    from (
        select user_id, from_day, max(latest) over (partition by user_id order by from_day) as latest from email_words
    )
    union all
    select known.user_id, known.from_day, null
    from known
    left join email_words on known.user_id = email_words.user_id and known.from_day = email_words.from_day
    where email_words.user_id is null

),

domain_kinds as (

    select distinct lower(trim(domain)) as domain
    from {{ source('raw', 'rule_domains') }}
    where kind in ('free_mail', 'disposable')

),

emails as (

    select
        row_number() over (order by changes.user_id, changes.from_day) as id,
        changes.user_id,
        changes.email,
        changes.host,
        domains.registrable_domain,
        case
            when by_host.domain is null and by_domain.domain is null then domains.registrable_domain
        end as company_domain,
        changes.from_day,
        changes.to_day
    from (
        select
            user_id,
            email,
            split_part(email, '@', 2) as host,
            from_day,
            lead(from_day, 1, {{ range.end }}) over (partition by user_id order by from_day) as to_day
        from email_changes
    ) as changes
    left join {{ source('raw', 'email_domains') }} as domains on changes.host = domains.domain
    left join domain_kinds as by_host on changes.host = by_host.domain
    left join domain_kinds as by_domain on domains.registrable_domain = by_domain.domain

),

-- The newest contact with the address.
contacts as (

    select contact_id, email, account_id, department, updated_at, from_day, to_day
    from {{ ref('past_contacts') }}
    where email is not null

),

contacts_by_email as (

    {{ best_of('contacts', 'email', ['contact_id', 'account_id', 'department'],
               'spans.updated_at desc nulls last, spans.contact_id') }}

),

with_contacts as (

    select row_number() over (order by user_id, from_day) as id, *
    from (
        {{ cut_by('emails', 'contacts_by_email', 'email', 'email', ['user_id', 'email', 'host', 'registrable_domain',
                  'company_domain'],
                  {'contact_id': 'contact_id', 'account_id': 'contact_account_id', 'department': 'department'}) }}
    )

),

accounts as (

    select account_id, from_day, to_day from {{ ref('past_accounts') }}

),

with_contact_accounts as (

    select row_number() over (order by user_id, from_day) as id, *
    from (
        {{ cut_by('with_contacts', 'accounts', 'contact_account_id', 'account_id', ['user_id', 'email', 'host',
                  'registrable_domain', 'company_domain', 'contact_id', 'department'],
                  {'account_id': 'live_contact_account_id'}) }}
    )

),

with_domains as (

    select row_number() over (order by user_id, from_day) as id, *
    from (
        {{ cut_by('with_contact_accounts', ref('past_accounts_by_domain'), 'company_domain', 'registrable_domain',
                  ['user_id', 'email', 'host', 'registrable_domain', 'company_domain', 'contact_id', 'department',
                   'live_contact_account_id'],
                  {'account_id': 'domain_account_id'}) }}
    )

),

with_groups as (

    select row_number() over (order by user_id, from_day) as id, *
    from (
        {{ cut_by('with_domains', ref('past_groups'), 'user_id', 'user_id',
                  ['email', 'host', 'registrable_domain', 'company_domain', 'contact_id', 'department',
                   'live_contact_account_id', 'domain_account_id', 'user_id'],
                  {'known_group_id': 'known_group_id', 'unknown_group_id': 'unknown_group_id'}) }}
    )

),

with_exclusions as (

    {{ cut_by('with_groups', ref('past_trait_exclusions'), 'user_id', 'user_id',
              ['email', 'host', 'registrable_domain', 'company_domain', 'contact_id', 'department',
               'live_contact_account_id', 'domain_account_id', 'known_group_id', 'unknown_group_id', 'user_id'],
              {'is_excluded': 'is_excluded'}) }}

),

rules as (

    select lower(trim(match)) as match, lower(trim(pattern)) as pattern from {{ source('raw', 'rule_exclusions') }}

),

excluded_domains as (

    select distinct lower(trim(domain)) as domain from {{ source('raw', 'rule_domains') }} where kind = 'excluded'

),

excluded_by_name as (

    select distinct users.user_id, users.email
    from (select distinct user_id, email from emails) as users
    inner join rules
        on (rules.match = 'email_pattern' and {{ matches_glob('users.email', 'rules.pattern') }})
        or (rules.match = 'user_id_pattern' and {{ matches_glob('lower(users.user_id)', 'rules.pattern') }})

)

select
    spans.user_id,
    spans.email,
    spans.contact_id,
    lower(spans.department) as department,
    coalesce(
        spans.known_group_id,
        spans.live_contact_account_id,
        spans.domain_account_id,
        spans.unknown_group_id,
        'domain:' || spans.company_domain
    ) as account_id,
    spans.from_day,
    spans.to_day
from with_exclusions as spans
left join excluded_by_name as named on spans.user_id = named.user_id and spans.email is not distinct from named.email
left join excluded_domains as by_host on spans.host = by_host.domain
left join excluded_domains as by_domain on spans.registrable_domain = by_domain.domain
where spans.is_excluded is null and named.user_id is null and by_host.domain is null and by_domain.domain is null
