{{ crm_staging('accounts', 'account_id') }}
