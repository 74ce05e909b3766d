{%- set range = past_range() -%}
-- When a trait said that somebody is not to be scored. Disjoint spans per user.
with rules as (

    select
        trim(split_part(pattern, '=', 1)) as trait,
        lower(trim(substr(pattern, strpos(pattern, '=') + 1))) as trait_pattern
    from {{ source('raw', 'rule_exclusions') }}
    where lower(trim(match)) = 'trait'

),

traits as (

    select user_id, message_id, traits, occurred_at, received_at, cast(occurred_at as date) as known_on
    from {{ ref('int_trait_events') }}
    where event_type = 'identify' and traits is not null and user_id is not null
    union all
    select
        identities.user_id,
        events.message_id,
        events.traits,
        events.occurred_at,
        events.received_at,
        greatest(cast(events.occurred_at as date), cast(identities.identified_at as date))
    from {{ ref('int_trait_events') }} as events
    inner join {{ ref('int_anonymous_identities') }} as identities on events.anonymous_id = identities.anonymous_id
    where events.event_type = 'identify' and events.traits is not null and events.user_id is null

),

words as (

    select
        user_id,
        trait,
        greatest(known_on, {{ range.first }}) as from_day,
        max({{ struct_of({
            'at': 'occurred_at', 'received_at': 'received_at', 'id': 'message_id', 'said': 'said',
        }) }}) as latest
    from (
        select traits.*, rules.trait, {{ json_text('traits.traits', 'rules.trait') }} as said
        from (select distinct trait from rules) as rules
        inner join traits on strpos(traits.traits, rules.trait) > 0
    )
    where said is not null and known_on < {{ range.end }}
    group by user_id, trait, from_day

),

standing as (

    select
        user_id,
        trait,
        from_day,
        lead(from_day, 1, {{ range.end }}) over (partition by user_id, trait order by from_day) as to_day,
        max(latest) over (partition by user_id, trait order by from_day) as latest
    from words

),

excluding as (

    select standing.user_id, standing.from_day, standing.to_day
    from standing
    inner join rules
        on standing.trait = rules.trait and {{ trait_matches('standing.latest.said', 'rules.trait_pattern') }}

)

select user_id, true as is_excluded, from_day, to_day from ({{ disjoint('excluding', 'user_id') }})
