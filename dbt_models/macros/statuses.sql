{#
  The subscription status that traits said last, per moment and subject, and since when they say so; when they first said
  one, and when first that somebody pays.

  said: a relation with `key`, traits, occurred_at, received_at and message_id.
#}
{% macro subscription_statuses(said, key) %}
with said as (

    {{ said }}

),

statuses as (

    select
        *,
        coalesce(
            {{ subscription_status_of(json_text('traits', "'subscription_status'")) }},
            {{ subscription_status_of(json_text('traits', "'subscriptionStatus'")) }}
        ) as status
    from said

),

-- Repeating a status doesn't renew it.
changes as (

    select *
    from (
        select
            *,
            lag(status) over (partition by {{ key }} order by occurred_at, received_at, message_id) as previous_status
        from statuses
        where status is not null
    )
    where status is distinct from previous_status

),

current_statuses as (

    select
        moments.as_of,
        changes.{{ key }},
        changes.status,
        changes.occurred_at as since,
        min(changes.occurred_at) over (partition by moments.as_of, changes.{{ key }}) as first_said_at,
        min(case when changes.status = 'paying' then changes.occurred_at end) over (
            partition by moments.as_of, changes.{{ key }}
        ) as first_paying_at,
        row_number() over (
            partition by moments.as_of, changes.{{ key }}
            order by changes.occurred_at desc, changes.received_at desc, changes.message_id desc
        ) as recency
    from changes
    inner join {{ source('raw', 'moments') }} as moments on changes.occurred_at <= moments.until

)

select as_of, {{ key }}, status, since, first_said_at, first_paying_at
from current_statuses
where recency = 1
{% endmacro %}
