{{ config(tags=['crm']) }}
-- What was delivered since the last extract that counts and kept out of the data, because too many rows were missing from
-- it. That says nothing about deletions; but whoever says no in it has said so.
with complete as (

    select entity, max(extract_at) as extract_at
    from {{ source('raw', 'crm_extracts') }}
    where is_complete
    group by entity

)

select distinct
    versions.entity,
    versions.key,
    versions.version_id
from {{ source('raw', 'crm_extracts') }} as extracts
inner join {{ source('raw', 'crm_extract_rows') }} as held on extracts.extract_id = held.extract_id
inner join {{ source('raw', 'crm_versions') }} as versions on held.version_id = versions.version_id
left join complete on extracts.entity = complete.entity
where not extracts.is_complete
    and (complete.extract_at is null or extracts.extract_at >= complete.extract_at)
