{{ crm_staging('opportunities', 'opportunity_id') }}
