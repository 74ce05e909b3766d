-- Whom not to contact is asked of the newest list, whatever moment is scored: it protects people, it scores nobody.
with latest as (

    select extract_id
    from {{ ref('stg_crm__extracts') }}
    where entity = 'suppression'
    order by extract_number desc
    limit 1

),

named as (

    select held.version_id
    from latest
    inner join {{ source('raw', 'crm_extract_rows') }} as held on latest.extract_id = held.extract_id

    union all

    select version_id from {{ ref('int_crm_kept_out') }} where entity = 'suppression'

)

select
    lower(suppressions.suppression_key) as suppression_key,
    coalesce(min(suppressions.reason), 'suppression list') as reason
from named
inner join {{ ref('stg_crm__suppressions') }} as suppressions on named.version_id = suppressions.version_id
group by lower(suppressions.suppression_key)
