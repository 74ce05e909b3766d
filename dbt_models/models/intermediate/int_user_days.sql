{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        full_refresh=false,
        tags=['delta'],
        pre_hook="{{ forget_touched_user_days() }}",
        post_hook="{{ roll_up_the_rest() }}",
    )
}}
-- depends_on: {{ ref('int_user_days_touched') }}
-- depends_on: {{ ref('int_user_events') }}
-- depends_on: {{ ref('int_catalog_entries') }}
-- depends_on: {{ ref('int_catalog_paths') }}
-- depends_on: {{ ref('stg_playbook__settings') }}
-- depends_on: {{ ref('int_newly_identified') }}
-- depends_on: {{ ref('int_anonymous_identities') }}
-- depends_on: {{ ref('stg_product__events') }}
-- depends_on: {{ source('raw', 'batches') }}
-- depends_on: {{ source('raw', 'moments') }}
{%- set starts_anew = not is_incremental() -%}
{%- set portions = rollup_portions(starts_anew) %}

{{ user_days_query(portions[0].days, starts_anew) }}
