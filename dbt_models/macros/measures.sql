{# Days from the first event to the moment, both counted, at least `min_weeks_days` and at most the window. #}
{% macro days_observed() -%}
  least(greatest(measures.days_since_first_event, settings.min_weeks_days), settings.window_days)
{%- endmacro %}
