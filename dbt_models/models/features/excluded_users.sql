{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        tags=['delta'],
        pre_hook="{{ forget_touched(of='user_ids') }}",
    )
}}
{#- Whether any rule asks for traits: as a literal, so that none are read where none does. -#}
{%- set query %}
    select cast(count(*) > 0 as varchar) as asks_for_traits
    from {{ source('raw', 'rule_exclusions') }}
    where lower(trim(match)) = 'trait'
{%- endset %}
{%- set asks_for_traits = asked(query)[0].asks_for_traits if execute else 'true' %}

with users as (

    select
        identities.as_of,
        moments.until,
        identities.user_id,
        identities.email,
        identities.host,
        identities.registrable_domain
    from {{ touched_rows(ref('int_user_identities')) }} as identities
    inner join {{ source('raw', 'moments') }} as moments on identities.as_of = moments.as_of

),

rules as (

    select
        lower(trim(match)) as match,
        lower(trim(pattern)) as pattern,
        trim(split_part(pattern, '=', 1)) as trait,
        lower(trim(substr(pattern, strpos(pattern, '=') + 1))) as trait_pattern,
        reason
    from {{ source('raw', 'rule_exclusions') }}

),

domains as (

    select lower(trim(domain)) as domain, reason from {{ source('raw', 'rule_domains') }} where kind = 'excluded'

),

-- What was said last about each trait that a rule asks for.
traits as (

    select
        users.as_of,
        users.user_id,
        rules.trait,
        max_by(
            {{ json_text('events.traits', 'rules.trait') }},
            {{ struct_of({'at': 'events.occurred_at', 'received_at': 'events.received_at', 'id': 'events.message_id'}) }}
        ) filter (where {{ json_text('events.traits', 'rules.trait') }} is not null) as said
    from (select distinct trait from rules where match = 'trait') as rules
    inner join (
        select * from {{ ref('int_user_traits') }} where {{ only_touched('user_key') }}
    ) as events on strpos(events.traits, rules.trait) > 0
    inner join users on events.user_id = users.user_id and events.occurred_at <= users.until
    where {{ asks_for_traits }}
    group by users.as_of, users.user_id, rules.trait

),

reasons as (

    select users.as_of, users.user_id, users.email, 1 as position, domains.reason
    from users
    inner join domains on users.host = domains.domain
    union all
    select users.as_of, users.user_id, users.email, 1, domains.reason
    from users
    inner join domains on users.registrable_domain = domains.domain
    union all
    select users.as_of, users.user_id, users.email, 2, rules.reason
    from users
    inner join rules on rules.match = 'email_pattern' and {{ matches_glob('users.email', 'rules.pattern') }}
    union all
    select users.as_of, users.user_id, users.email, 3, rules.reason
    from users
    inner join rules on rules.match = 'user_id_pattern' and {{ matches_glob('lower(users.user_id)', 'rules.pattern') }}
    union all
    select users.as_of, users.user_id, users.email, 4, rules.reason
    from users
    inner join traits on users.as_of = traits.as_of and users.user_id = traits.user_id
    inner join rules
        on rules.match = 'trait'
        and traits.trait = rules.trait
        and {{ trait_matches('traits.said', 'rules.trait_pattern') }}

),

-- One reason per user: the first kind of rule, then the first reason by name.
ranked as (

    select *, row_number() over (partition by as_of, user_id order by position, reason) as reason_number
    from reasons

)

select as_of, user_id, email, reason
from ranked
where reason_number = 1
