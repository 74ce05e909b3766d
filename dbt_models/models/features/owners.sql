{{ config(tags=['crm']) }}
select
    records.as_of,
    owners.owner_id,
    owners.name,
    owners.email,
    owners.team,
    -- Not having said so is no reason to pass an owner over.
    coalesce(owners.is_active, true) as is_active,
    owners.slack_user_id
from {{ ref('int_crm_records') }} as records
inner join {{ ref('stg_crm__owners') }} as owners on records.version_id = owners.version_id
where records.entity = 'owners' and not records.is_deleted
