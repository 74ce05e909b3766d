{{ config(materialized='view') }}

{{ user_events() }}
