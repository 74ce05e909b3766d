{#
  How an incremental table is kept: a full refresh makes it anew and a delta adds to it what its query gives, in one
  transaction with its hooks, which remove what is replaced. dbt-duckdb's own way goes through a temporary table and asks
  for columns on both sides; in a delta of a few rows that takes longer than the query. Columns are matched by name, so
  that one that is missing or new is an error.
#}
{% materialization incremental, adapter='duckdb' %}
  {%- set existing = load_cached_relation(this) -%}
  {%- set target_relation = this.incorporate(type='table') -%}
  {%- set to_drop = [] -%}

  {{ run_hooks(pre_hooks, inside_transaction=True) }}
  {%- if existing is none -%}
    {%- set build_sql = create_table_as(false, target_relation, compiled_code) -%}
  {%- elif should_full_refresh() or existing.is_view -%}
    {#- Beside the old one, which others may still stand on while this one is computed from it. -#}
    {%- set made = make_intermediate_relation(target_relation) -%}
    {{ drop_relation_if_exists(load_cached_relation(made)) }}
    {%- set build_sql = create_table_as(false, made, compiled_code) -%}
    {%- do to_drop.append(made) -%}
  {%- else -%}
    {%- set build_sql = 'insert into ' ~ this ~ ' by name ' ~ compiled_code -%}
  {%- endif -%}

  {%- call statement('main') -%}{{ build_sql }}{%- endcall -%}
  {%- if to_drop -%}
    {%- do adapter.drop_relation(existing) -%}
    {%- do adapter.rename_relation(to_drop[0], target_relation) -%}
  {%- endif -%}
  {%- do persist_docs(target_relation, model) -%}
  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {%- do adapter.commit() -%}
  {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}
