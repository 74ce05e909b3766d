{{ config(tags=['crm']) }}
select
    records.as_of,
    contacts.*,
    records.is_deleted
from {{ ref('int_crm_records') }} as records
inner join {{ ref('stg_crm__contacts') }} as contacts on records.version_id = contacts.version_id
where records.entity = 'contacts'
