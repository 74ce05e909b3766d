-- depends_on: {{ ref('past_late_days') }}
-- depends_on: {{ ref('int_catalog_entries') }}
-- depends_on: {{ ref('int_catalog_paths') }}
-- depends_on: {{ ref('stg_playbook__settings') }}
{%- set days = run_query('select min(day), max(day) from ' ~ ref('past_late_days')).rows[0] if execute else [none, none] %}
{{ user_days_query([[days[0] | string, days[1] | string]] if days[0] else [], true, ref('past_late_events')) }}
