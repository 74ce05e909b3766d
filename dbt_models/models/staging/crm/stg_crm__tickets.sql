{{ crm_staging('tickets', 'ticket_id') }}
