{#
  How a table is made: replaced in one statement, which reads the old one until the new one stands. dbt's own way makes it
  beside the old one, renames both and drops one, which for a table of few rows takes longer than everything else about
  it, and leaves statements behind that can't be executed again (decision 0031).
#}
{% macro replace_table(relation, existing) -%}
  {%- if existing is not none and existing.is_view -%}
    {%- do adapter.drop_relation(existing) -%}
  {%- endif -%}
  {%- call statement('main') -%}
    create or replace table {{ relation }} as (
      {{ compiled_code }}
    )
  {%- endcall -%}
{%- endmacro %}

{% materialization table, adapter='duckdb' %}
  {%- set target_relation = this.incorporate(type='table') -%}

  {{ run_hooks(pre_hooks, inside_transaction=True) }}
  {%- do replace_table(target_relation, load_cached_relation(this)) -%}
  {%- do persist_docs(target_relation, model) -%}
  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {%- do adapter.commit() -%}
  {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}
