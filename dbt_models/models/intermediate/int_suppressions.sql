-- Whom not to contact is asked of the newest list, whatever moment is scored: it protects people, it scores nobody.
with latest as (

    select extract_id
    from {{ ref('stg_crm__extracts') }}
    where entity = 'suppression'
    order by extract_number desc
    limit 1

)

select
    lower(suppressions.suppression_key) as suppression_key,
    coalesce(min(suppressions.reason), 'suppression list') as reason
from latest
inner join {{ source('raw', 'crm_extract_rows') }} as held on latest.extract_id = held.extract_id
inner join {{ ref('stg_crm__suppressions') }} as suppressions on held.version_id = suppressions.version_id
group by lower(suppressions.suppression_key)
