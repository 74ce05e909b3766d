{#
  How an incremental table is kept: a full refresh makes it anew and a delta adds to it what its query gives, in one
  transaction with its hooks, which remove what is replaced. dbt-duckdb's own way goes through a temporary table and asks
  for columns on both sides; in a delta of a few rows that takes longer than the query. Columns are matched by name, so
  that one that is missing or new is an error.
#}
{% materialization incremental, adapter='duckdb' %}
  {%- set existing = load_cached_relation(this) -%}
  {%- set target_relation = this.incorporate(type='table') -%}

  {{ run_hooks(pre_hooks, inside_transaction=True) }}
  {%- if existing is none or should_full_refresh() or existing.is_view -%}
    {%- do replace_table(target_relation, existing) -%}
  {%- else -%}
    {%- call statement('main') -%}insert into {{ this }} by name {{ compiled_code }}{%- endcall -%}
  {%- endif -%}
  {%- do persist_docs(target_relation, model) -%}
  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {%- do adapter.commit() -%}
  {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}
