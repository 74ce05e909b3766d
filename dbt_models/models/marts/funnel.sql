with stages as (

    select * from {{ ref('funnel_stages') }}

),

furthest as (

    select funnel_stage as stage, count(*) as users
    from {{ source('scores', 'pql_scores') }}
    group by funnel_stage

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
