{{ config(tags=['crm']) }}
-- Whoever had an opportunity had it, whether it was lost since, deleted, or won and taken back.
with opportunities as (

    select * from {{ ref('stg_crm__opportunities') }}

),

moments as (

    select as_of, until, is_live from {{ source('raw', 'moments') }}

),

contacts as (

    select as_of, contact_id, account_id from {{ ref('int_crm_contacts') }}

),

known as (

    select
        moments.as_of,
        coalesce(opportunities.account_id, contacts.account_id) as account_id,
        opportunities.contact_id,
        coalesce(opportunities.is_won, false) and coalesce(
            coalesce(opportunities.closed_at, opportunities.created_at) <= moments.until, true
        ) as is_won
    from {{ ref('int_crm_versions') }} as versions
    inner join opportunities on versions.version_id = opportunities.version_id
    inner join moments on {{ is_seen_at('moments', 'versions') }}
    left join contacts on moments.as_of = contacts.as_of and opportunities.contact_id = contacts.contact_id
    where coalesce(opportunities.created_at <= moments.until, true)

)

select as_of, account_id, contact_id, bool_or(is_won) as was_won
from known
group by as_of, account_id, contact_id
