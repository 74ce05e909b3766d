{{ crm_staging('owners', 'owner_id') }}
