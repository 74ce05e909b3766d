{%- set range = past_range() -%}
-- When users had a ticket about limits in the window, by the contact or by the address. Disjoint spans per user.
with tickets as (

    select
        tickets.contact_id,
        tickets.email,
        greatest(spans.from_day, cast(tickets.created_at as date)) as from_day,
        least(spans.to_day, {{ days_after('cast(tickets.created_at as date)', range.window) }}) as to_day
    from {{ ref('past_crm_spans') }} as spans
    inner join {{ ref('stg_crm__tickets') }} as tickets on spans.version_id = tickets.version_id
    -- Of two days, one of which is not known, DuckDB takes the other: what is of no day is of none here either.
    where spans.entity = 'tickets' and tickets.category = 'limits' and tickets.created_at is not null

),

of_users as (

    select
        users.user_id,
        greatest(users.from_day, tickets.from_day) as from_day,
        least(users.to_day, tickets.to_day) as to_day
    from {{ ref('past_identities') }} as users
    inner join tickets on users.contact_id = tickets.contact_id
    union all
    select users.user_id, greatest(users.from_day, tickets.from_day), least(users.to_day, tickets.to_day)
    from {{ ref('past_identities') }} as users
    inner join tickets on users.email = tickets.email

),

held as (

    select * from of_users where from_day < to_day

)

{{ disjoint('held', 'user_id') }}
