{#
  What DuckDB says differently from standard SQL, in one place: another warehouse needs these macros and nothing else.
  What a rule means does not belong here.
#}

{# A number that stands for a text in look-ups: texts with one number need not be one. #}
{% macro key_of(text) -%}
  hash({{ text }})
{%- endmacro %}

{# The value that stands beside the largest key; rows without a value don't count. #}
{% macro latest_value(value, key) -%}
  max_by({{ value }}, {{ key }}) filter (where {{ value }} is not null)
{%- endmacro %}

{# A sorted list of the distinct values, NULL when there are none. #}
{% macro distinct_values(value) -%}
  list_sort(list(distinct {{ value }}) filter (where {{ value }} is not null))
{%- endmacro %}

{# A sorted list of all values; structs by their fields from the first on. Much cheaper than a list with an order of its own. #}
{% macro sorted_list(value) -%}
  list_sort(list({{ value }}))
{%- endmacro %}

{# A list of all values in the given order. #}
{% macro ordered_list(value, order_by) -%}
  list({{ value }} order by {{ order_by }})
{%- endmacro %}

{% macro struct_of(fields) -%}
  struct_pack({% for name, value in fields.items() %}{{ name }} := {{ value }}{{ ', ' if not loop.last }}{% endfor %})
{%- endmacro %}

{# A list of what a regular expression finds in a text, without what another one finds at its ends. #}
{% macro each_found(text, pattern, trimmed) -%}
  list_transform(regexp_extract_all({{ text }}, '{{ pattern }}'), lambda found: regexp_replace(found, '{{ trimmed }}', '', 'g'))
{%- endmacro %}

{# A list of the parts of a text between what a regular expression finds. #}
{% macro parts_of(text, separator) -%}
  string_split_regex({{ text }}, '{{ separator }}')
{%- endmacro %}

{# One row per element, in a select list. #}
{% macro each_of(list) -%}
  unnest({{ list }})
{%- endmacro %}

{# A list of structs with these of their fields, in this order. #}
{% macro each_as(list, fields) -%}
  list_transform({{ list }}, lambda part: struct_pack({% for name in fields %}{{ name }} := part.{{ name }}{{ ', ' if not loop.last }}{% endfor %}))
{%- endmacro %}

{% macro empty_list(element='varchar') -%}
  cast([] as {{ element }}[])
{%- endmacro %}

{% macro length_of(list) -%}
  len({{ list }})
{%- endmacro %}

{% macro microseconds_between(earlier, later) -%}
  (epoch_us({{ later }}) - epoch_us({{ earlier }}))
{%- endmacro %}

{# The day that lies `days` (an integer expression) before. #}
{% macro days_before(day, days) -%}
  ({{ day }} - cast({{ days }} as integer))
{%- endmacro %}

{# Whole days from the earlier to the later date. #}
{% macro days_between(earlier, later) -%}
  ({{ later }} - {{ earlier }})
{%- endmacro %}

{# A field of a JSON object as text; NULL when the text is no JSON. `name` is an SQL expression. #}
{% macro json_text(json, name) -%}
  (case when json_valid({{ json }}) then json_extract_string({{ json }}, '$."' || {{ name }} || '"') end)
{%- endmacro %}

{# The fields of a JSON object as a struct of texts; what the object lacks is NULL. #}
{% macro json_texts(json, names) -%}
  json_transform({{ json }}, '{ {%- for name in names %}"{{ name }}": "VARCHAR"{{ ', ' if not loop.last }}{% endfor -%} }')
{%- endmacro %}

{# Whether a text matches a glob in which only * is special. Both in lower case. #}
{% macro matches_glob(text, glob) -%}
  {{ text }} like replace(replace(replace(replace({{ glob }}, '\', '\\'), '%', '\%'), '_', '\_'), '*', '%') escape '\'
{%- endmacro %}

{# A text with separators as a sorted list of its trimmed, distinct parts; NULL when nothing is said. #}
{% macro split_list(value, separator) -%}
  (case
    when {{ text_of(value) }} is not null
      then list_sort(list_distinct(list_filter(
        list_transform(string_split({{ value }}, '{{ separator }}'), lambda part: trim(part)), lambda part: part <> ''
      )))
  end)
{%- endmacro %}

{# Of a list of structs, each called `part`: an expression of those for which the condition holds. #}
{% macro of_parts(list, value, condition='true') -%}
  list_transform(list_filter({{ list }}, lambda part: {{ condition }}), lambda part: {{ value }})
{%- endmacro %}

{# The values of a list, once each and sorted. #}
{% macro set_of(list) -%}
  list_sort(list_distinct({{ list }}))
{%- endmacro %}

{# One list after the other; NULL is an empty one. #}
{% macro both_of(first, second) -%}
  list_concat({{ first }}, {{ second }})
{%- endmacro %}

{# Of two lists of structs the first, and of the second those whose key the first lacks. #}
{% macro words_of(first, second, key) -%}
  list_concat({{ first }}, list_filter({{ second }}, lambda word: not coalesce(
    list_contains(list_transform({{ first }}, lambda said: said.{{ key }}), word.{{ key }}), false
  )))
{%- endmacro %}

{# How often a common table expression is computed: once and kept, or wherever it is read. #}
{% macro materialized() %}materialized{% endmacro %}

{% macro not_materialized() %}not materialized{% endmacro %}
