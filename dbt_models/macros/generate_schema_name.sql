{# Schemas have exactly the names that the project gives them: `marts`, not `main_marts`. Their names are a contract. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
  {{ (custom_schema_name or target.schema) | trim }}
{%- endmacro %}
