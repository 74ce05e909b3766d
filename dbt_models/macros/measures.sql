{# Days from the first event to the moment, both counted, at least `min_weeks_days` and at most the window. #}
{% macro days_observed() -%}
  least(greatest(measures.days_since_first_event, settings.min_weeks_days), settings.window_days)
{%- endmacro %}

{#
  The moments that features are measured at, the earliest first, with the days that their windows begin with, for literals:
  a literal is what scans are pruned by. `inactive_days` is the same for all.
#}
{% macro measured_moments() %}
  {% set query %}
    select
      strftime(as_of, '%Y-%m-%d %H:%M:%S.%f'),
      strftime(day, '%Y-%m-%d'),
      strftime({{ days_before('day', 'window_days - 1') }}, '%Y-%m-%d'),
      strftime({{ days_before('day', '2 * window_days - 1') }}, '%Y-%m-%d'),
      inactive_days
    from {{ source('raw', 'moments') }}
    cross join {{ ref('stg_playbook__settings') }}
    order by day, as_of
  {% endset %}
  {% set rows = run_query(query).rows if execute else [['2000-01-31 12:00:00', '2000-01-31', '2000-01-01', '1999-12-01', 30]] %}
  {% set moments = [] %}
  {% for row in rows %}
    {% do moments.append({
        'as_of': "timestamp '" ~ row[0] ~ "'", 'day': "date '" ~ row[1] ~ "'", 'window_from': "date '" ~ row[2] ~ "'",
        'before_from': "date '" ~ row[3] ~ "'", 'inactive_days': row[4] | int,
    }) %}
  {% endfor %}
  {{ return(moments) }}
{% endmacro %}
