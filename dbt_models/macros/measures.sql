{# Days from the first event to the moment, both counted, at least `min_weeks_days` and at most the window. #}
{% macro days_observed() -%}
  least(greatest(measures.days_since_first_event, settings.min_weeks_days), settings.window_days)
{%- endmacro %}

{#
  The moments that features are measured at, the earliest first, with the days that their windows begin with, as literals.
  `inactive_days` is the same for all.
#}
{% macro measured_moments() %}
  {% if not execute %}
    {{ return([{
        'as_of': "timestamp '2000-01-31 12:00:00'", 'day': "date '2000-01-31'", 'window_from': "date '2000-01-01'",
        'before_from': "date '1999-12-01'", 'lately_from': "date '2000-01-18'", 'inactive_days': 30,
    }]) }}
  {% endif %}
  {% set query %}
    select
      {{ literal_of('timestamp', 'as_of', '%Y-%m-%d %H:%M:%S.%f') }} as as_of,
      {{ literal_of('date', 'day', '%Y-%m-%d') }} as day,
      {{ literal_of('date', days_before('day', 'window_days - 1'), '%Y-%m-%d') }} as window_from,
      {{ literal_of('date', days_before('day', '2 * window_days - 1'), '%Y-%m-%d') }} as before_from,
      {{ literal_of('date', days_before('day', 'reactivated_within_days - 1'), '%Y-%m-%d') }} as lately_from,
      cast(inactive_days as varchar) as inactive_days
    from {{ source('raw', 'moments') }} as moments
    cross join {{ ref('stg_playbook__settings') }}
    order by moments.day, moments.as_of
  {% endset %}
  {{ return(asked(query)) }}
{% endmacro %}
