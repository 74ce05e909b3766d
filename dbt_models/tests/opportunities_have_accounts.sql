{{ config(severity='warn', tags=['features']) }}
select opportunities.opportunity_id, opportunities.account_id
from {{ ref('int_crm_opportunities') }} as opportunities
inner join {{ source('raw', 'moments') }} as moments on opportunities.as_of = moments.as_of and moments.is_live
left join {{ ref('int_crm_accounts') }} as accounts
    on opportunities.as_of = accounts.as_of and opportunities.account_id = accounts.account_id
where opportunities.account_id is not null and accounts.account_id is null
