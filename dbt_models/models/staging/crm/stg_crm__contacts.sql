{{ config(materialized='incremental', incremental_strategy='append', on_schema_change='fail', tags=['crm']) }}
{{ crm_staging('contacts', 'contact_id') }}
