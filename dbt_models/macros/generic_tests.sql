{# The few generic tests that dbt doesn't bring; packages would be downloads. #}

{% test unique_combination(model, columns) %}
  select {{ columns | join(', ') }}
  from {{ model }}
  group by {{ columns | join(', ') }}
  having count(*) > 1
{% endtest %}

{% test in_range(model, column_name, at_least=none, at_most=none) %}
  select {{ column_name }}
  from {{ model }}
  where false
  {%- if at_least is not none %} or {{ column_name }} < {{ at_least }}{% endif %}
  {%- if at_most is not none %} or {{ column_name }} > {{ at_most }}{% endif %}
{% endtest %}

{% test exactly_one(model, condition) %}
  select count(*) as found
  from {{ model }}
  where {{ condition }}
  having count(*) <> 1
{% endtest %}

{# Cells that people type: spaces and case don't matter, and an empty one is allowed. #}
{% test accepted_words(model, column_name, values) %}
  select {{ column_name }}
  from {{ model }}
  where lower(trim({{ column_name }})) not in ('{{ values | join("', '") }}', '')
{% endtest %}
