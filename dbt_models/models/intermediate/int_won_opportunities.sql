-- What calibration measures scores against. Everything known at the live moment, deals of long ago included; one that is
-- to be closed later is open until then.
with records as (

    select version_id, key as opportunity_id
    from {{ ref('int_crm_records') }}
    where entity = 'opportunities' and not is_deleted
        and as_of = (select as_of from {{ source('raw', 'moments') }} where is_live)

),

opportunities as (

    select * from {{ ref('stg_crm__opportunities') }}

),

contacts as (

    select contact_id, account_id
    from {{ ref('int_crm_contacts') }}
    where as_of = (select as_of from {{ source('raw', 'moments') }} where is_live)

),

-- Of the versions that said won, the first that we knew.
known as (

    select opportunities.opportunity_id, min(versions.known_from) as known_from
    from {{ ref('int_crm_versions') }} as versions
    inner join opportunities on versions.version_id = opportunities.version_id
    where opportunities.is_won
    group by opportunities.opportunity_id

),

won as (

    select
        coalesce(opportunities.account_id, contacts.account_id) as account_id,
        opportunities.contact_id,
        opportunities.opportunity_id,
        coalesce(opportunities.closed_at, opportunities.created_at) as won_at,
        opportunities.created_at,
        known.known_from
    from records
    inner join opportunities on records.version_id = opportunities.version_id
    left join contacts on opportunities.contact_id = contacts.contact_id
    left join known on opportunities.opportunity_id = known.opportunity_id
    where opportunities.is_won

)

select *
from won
where won_at <= (select until from {{ source('raw', 'moments') }} where is_live)
