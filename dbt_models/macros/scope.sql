{#
  A run is either full or a delta. A full run (`--full-refresh`) makes every table below anew, except the rollup, which is
  always kept; a delta recomputes the users and accounts that new events touch, on the same day, and leaves the other rows
  as they are. Which of the two a run is, dagster_project/refresh.py decides. Where the CRM has delivered, a delta first makes
  the models tagged `crm` anew, and whomever they say something else about is touched as well (dagster_project/crm_changes.py).

  The models that a delta recomputes carry the tag `delta`, forget the touched rows before they insert, and limit what
  they read with `only_touched`.
#}

{#
  What a delta recomputes, as the pair of a key and a query for its values: touched users, by their numbers or by their ids,
  users with a touched day before the live moment's (`histories`), touched accounts by their ids or by their numbers.

  A number is found several times faster than a text. Whoever shares one with a touched user is touched as well.
#}
{% macro touched_keys(of) %}
  {%- if of == 'users' %}
    {{ return(('user_key', 'select user_key from ' ~ ref('int_users_touched'))) }}
  {%- elif of == 'user_ids' %}
    {{ return(('user_id', 'select user_id from ' ~ ref('int_users_touched'))) }}
  {%- elif of == 'accounts' %}
    {{ return(('account_id', 'select account_id from ' ~ ref('int_accounts_touched'))) }}
  {%- elif of == 'account_keys' %}
    {{ return(('account_key', 'select ' ~ key_of('account_id') ~ ' from ' ~ ref('int_accounts_touched'))) }}
  {%- elif of == 'histories' %}
    {%- set day = 'select day from ' ~ source('raw', 'moments') ~ ' where is_live' %}
    {{ return(('user_id', 'select user_id from ' ~ ref('int_user_days_touched') ~ ' where day < (' ~ day ~ ')')) }}
  {%- endif %}
  {{ exceptions.raise_compiler_error("nothing is known to be touched of: " ~ of) }}
{% endmacro %}

{# A condition: everything in a full run, what is touched in a delta. #}
{% macro only_touched(key, of='users') -%}
  {%- set touched = touched_keys(of)[1] -%}
  {{ key ~ ' in (' ~ touched ~ ')' if is_incremental() else 'true' }}
{%- endmacro %}

{#
  A condition: in a delta, keys that the rows of a relation name; everything in a full run. A join finds the same, but puts all
  of what it joins with into a hash table first.
#}
{% macro only_named(key, relation, named=none) -%}
  {{ key ~ ' in (select ' ~ (named or key) ~ ' from ' ~ relation ~ ')' if is_incremental() else 'true' }}
{%- endmacro %}

{#
  In a `from`, the rows of a wide table whose key is among those of a query. Which ones are looked for in one narrow column,
  and only then are they read in their whole width: a delta's own rows stand together at the end of a table. What was found
  is kept apart, since DuckDB may take it for more than all rows when it is none, and reads all of these then.

  `day` narrows them to those of a day.
#}
{% macro rows_among(relation, key, keys, day=none) -%}
(
        with found as {{ materialized() }} (
            select narrow.rowid as place from {{ relation }} as narrow
            where narrow.{{ key }} in ({{ keys }}){{ ' and narrow.day = ' ~ day if day }}
        )

        select whole.* from {{ relation }} as whole where whole.rowid in (select place from found)
    )
{%- endmacro %}

{# In a `from`, the touched rows of a wide table; all of them in a full run. #}
{% macro touched_rows(relation, of='users') -%}
  {%- set key, touched = touched_keys(of) -%}
  {{ rows_among(relation, key, touched) if is_incremental() else relation }}
{%- endmacro %}

{# Before the touched rows are inserted, inside the transaction. #}
{% macro forget_touched(of='users') %}
  {%- set key, touched = touched_keys(of) -%}
  {% if is_incremental() %}
    delete from {{ this }} where {{ key }} in ({{ touched }})
  {% else %}
    select 1
  {% endif %}
{% endmacro %}

{#
  What a query answers, as literals: a list of rows, each a dictionary by column, NULL as none. The columns hold SQL, as
  texts. A literal is what scans are pruned by.

  Query and literals are marked, so that a later run may execute the model's statements again with its own answers
  (dagster_project/node_statements.py); the rest of a statement must not depend on them, but for how many rows there are,
  unless it is executed for one row after the other (`one_by_one`).
#}
{% macro asked(query, one_by_one=false) %}
  {% set answer = run_query('/*?*/ ' ~ query) %}
  {% set rows = [] %}
  {% for row in answer.rows %}
    {% set number = '' if one_by_one else '.' ~ loop.index0 %}
    {% set literals = {} %}
    {% for name in answer.column_names %}
      {% do literals.update({name: none if row[name] is none else '/*:' ~ name ~ number ~ '*/' ~ row[name] ~ '/*;*/'}) %}
    {% endfor %}
    {% do rows.append(literals) %}
  {% endfor %}
  {{ return(rows) }}
{% endmacro %}

{# An SQL expression of the text of a date or timestamp literal. #}
{% macro literal_of(type, value, format) -%}
  '{{ type }} ''' || strftime({{ value }}, '{{ format }}') || ''''
{%- endmacro %}

{#
  The batch and the moment that the rollup stands at, or stood at, and the end of that moment's day, as literals. No moment
  before the first rollup.
#}
{% macro rolled_up_to(before_this_run=false) %}
  {%- set which = 'previous_' if before_this_run else '' %}
  {% if not execute %}{{ return({'batch_id': 0, 'as_of': none, 'day_end': none}) }}{% endif %}
  {% set query %}
    select
      cast(coalesce(max({{ which }}batch_id), 0) as varchar) as batch_id,
      {{ literal_of('timestamp', 'max(' ~ which ~ 'as_of)', '%Y-%m-%d %H:%M:%S.%f') }} as as_of,
      {{ literal_of('timestamp', 'max(' ~ which ~ 'as_of)', '%Y-%m-%d 23:59:59.999999') }} as day_end
    from {{ rollup_state('rollup_mark') }}
  {% endset %}
  {{ return(asked(query)[0]) }}
{% endmacro %}

{# A condition on anonymous ids: all of them in a full run, in a delta those whose identity the run has computed. #}
{% macro only_newly_identified() -%}
  {%- set identified = 'select anonymous_id from ' ~ ref('int_newly_identified') -%}
  {{ 'true' if flags.FULL_REFRESH else 'anonymous_id in (' ~ identified ~ ')' }}
{%- endmacro %}

{% macro forget_newly_identified() %}
  {% if is_incremental() %}
    delete from {{ this }} where {{ only_newly_identified() }}
  {% else %}
    select 1
  {% endif %}
{% endmacro %}
