-- depends_on: {{ ref('past_late_days') }}
-- depends_on: {{ ref('int_catalog_entries') }}
-- depends_on: {{ ref('int_catalog_paths') }}
-- depends_on: {{ ref('stg_playbook__settings') }}
{%- set days = run_query('select min(day), max(day) from ' ~ ref('past_late_days')).rows[0] if execute else [none, none] %}
{%- set late = "events.day between date '" ~ days[0] ~ "' and date '" ~ days[1] ~ "'" if days[0] else 'false' %}
{{ user_days_query(late, true, ref('past_late_events')) }}
