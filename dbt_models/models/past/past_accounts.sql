-- CRM accounts as they were. Disjoint spans per account.
with domains as (

    select domain, registrable_domain from {{ source('raw', 'email_domains') }}

)

select
    accounts.*,
    domains.registrable_domain,
    spans.from_day,
    spans.to_day
from {{ ref('past_crm_spans') }} as spans
inner join {{ ref('stg_crm__accounts') }} as accounts on spans.version_id = accounts.version_id
left join domains on {{ host_of('accounts.domain') }} = domains.domain
where spans.entity = 'accounts'
