{{ config(tags=['crm']) }}
with opportunities as (

    select records.as_of, records.until, opportunities.*, records.is_deleted
    from {{ ref('int_crm_records') }} as records
    inner join {{ ref('stg_crm__opportunities') }} as opportunities on records.version_id = opportunities.version_id
    where records.entity = 'opportunities' and not records.is_deleted

),

contacts as (

    select as_of, contact_id, account_id from {{ ref('int_crm_contacts') }}

),

-- An extract that is younger than the moment tells how the opportunity ended; it counts as open until then. Of one that says
-- it is not closed the day is the one on which it is expected to be.
as_known as (

    select
        opportunities.as_of,
        opportunities.opportunity_id,
        opportunities.contact_id,
        coalesce(opportunities.account_id, contacts.account_id) as account_id,
        opportunities.stage,
        opportunities.amount,
        opportunities.created_at,
        opportunities.closed_at,
        coalesce(opportunities.created_at <= opportunities.until, true) and (
            coalesce(opportunities.closed_at > opportunities.until, false)
            or (
                (opportunities.closed_at is null or not coalesce(opportunities.is_closed, true))
                and not coalesce(opportunities.is_closed, false)
                and not coalesce(opportunities.is_won, false)
            )
        ) as is_open,
        coalesce(opportunities.is_won, false) and coalesce(
            coalesce(opportunities.closed_at, opportunities.created_at) <= opportunities.until, true
        ) as is_won
    from opportunities
    left join contacts
        on opportunities.as_of = contacts.as_of and opportunities.contact_id = contacts.contact_id

)

select * from as_known
