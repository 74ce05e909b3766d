-- Contacts as they were. Disjoint spans per contact.
select contacts.*, spans.from_day, spans.to_day
from {{ ref('past_crm_spans') }} as spans
inner join {{ ref('stg_crm__contacts') }} as contacts on spans.version_id = contacts.version_id
where spans.entity = 'contacts'
