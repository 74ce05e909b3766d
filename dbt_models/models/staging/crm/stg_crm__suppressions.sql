{{ crm_staging('suppression', 'suppression_key') }}
