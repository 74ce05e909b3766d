with stages as (

    select * from {{ ref('funnel_stages') }}

),

-- The furthest stage that a user ever reached: who churned later still closed.
furthest as (

    select stage, count(*) as users
    from (
        select
            case
                when is_customer then 'closed'
                when classification in ('hot', 'warm')
                    or activation_stage in ('pql', 'opportunity')
                    or {{ names_contain('milestones', 'first_pql') }} then 'pql'
                when activated_at is not null or activation_stage = 'activated' then 'activated'
                else 'signed_up'
            end as stage
        from {{ source('scores', 'pql_scores') }}
    )
    group by stage

),

positions as (

    select stages.position, furthest.users
    from furthest
    inner join stages on furthest.stage = stages.stage

),

-- Whoever is further on has been at every stage before.
reached as (

    select stages.position, stages.stage, stages.motion, cast(coalesce(sum(positions.users), 0) as bigint) as users
    from stages
    left join positions on positions.position >= stages.position
    group by stages.position, stages.stage, stages.motion

)

select
    stage,
    motion,
    users,
    cast(users as double) / nullif(max(users) over (), 0) as share_of_signups,
    position
from reached
order by position
