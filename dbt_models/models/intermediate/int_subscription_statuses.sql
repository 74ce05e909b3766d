with moments as (

    select as_of from {{ source('raw', 'moments') }}

),

-- Reading only traits that mention it keeps this cheap.
said as (

    select 'user' as subject_type, user_id as subject_id, occurred_at, received_at, message_id, traits
    from {{ ref('int_user_events') }}
    where event_type = 'identify' and traits like '%ubscription%'
    union all
    select 'group', group_id, occurred_at, received_at, message_id, traits
    from {{ ref('stg_product__events') }}
    where event_type = 'group' and group_id is not null and traits like '%ubscription%'

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
            lag(status) over (
                partition by subject_type, subject_id order by occurred_at, received_at, message_id
            ) as previous_status
        from statuses
        where status is not null
    )
    where status is distinct from previous_status

),

current_statuses as (

    select
        moments.as_of,
        changes.subject_type,
        changes.subject_id,
        changes.status,
        changes.occurred_at as since,
        row_number() over (
            partition by moments.as_of, changes.subject_type, changes.subject_id
            order by changes.occurred_at desc, changes.received_at desc, changes.message_id desc
        ) as recency
    from changes
    inner join moments on changes.occurred_at <= moments.as_of

)

select as_of, subject_type, subject_id, status, since
from current_statuses
where recency = 1
