{{ crm_staging('contacts', 'contact_id') }}
