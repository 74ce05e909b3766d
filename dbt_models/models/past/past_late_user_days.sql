-- depends_on: {{ ref('past_late_days') }}
-- depends_on: {{ ref('int_catalog_entries') }}
-- depends_on: {{ ref('int_catalog_paths') }}
-- depends_on: {{ ref('stg_playbook__settings') }}
{%- set query %}
    select coalesce('events.day between ' || {{ literal_of('date', 'min(day)', '%Y-%m-%d') }} || ' and ' || {{ literal_of('date', 'max(day)', '%Y-%m-%d') }}, 'false') as late_days
    from {{ ref('past_late_days') }}
{%- endset %}
{{ user_days_query(asked(query)[0].late_days if execute else 'false', true, ref('past_late_events')) }}
