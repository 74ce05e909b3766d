select
    opportunities.opportunity_id,
    opportunities.account_id,
    opportunities.contact_id,
    opportunities.stage,
    opportunities.amount,
    opportunities.is_open,
    opportunities.is_won,
    opportunities.created_at,
    opportunities.closed_at
from {{ ref('int_crm_opportunities') }} as opportunities
inner join {{ source('raw', 'moments') }} as moments on opportunities.as_of = moments.as_of and moments.is_live
