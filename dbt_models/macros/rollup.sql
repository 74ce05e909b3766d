{#
  How int_user_days is kept: what it remembers between runs, in which portions it is computed, and that all of it
  happens in one transaction. What a user-day holds is in user_days_query.sql.

  rollup_mark            one row: the last batch rolled up, and the moment that its day was cut at
  rolled_up_identities   the anonymous ids as the rollup knows them
#}

{% macro rollup_state(table) -%}
  {{ return(api.Relation.create(database=target.database, schema='intermediate', identifier=table)) }}
{%- endmacro %}

{% macro create_rollup_state() %}
  create schema if not exists intermediate;
  create table if not exists {{ rollup_state('rollup_mark') }} (
    batch_id integer, as_of timestamp, previous_batch_id integer, previous_as_of timestamp
  );
  create table if not exists {{ rollup_state('rolled_up_identities') }} (anonymous_id varchar, user_id varchar)
{% endmacro %}

{% macro rollup_starts_anew() %}
  {% if not execute %}{{ return(false) }}{% endif %}
  {% set rollup = adapter.get_relation(target.database, 'intermediate', 'int_user_days') %}
  {{ return(rollup is none) }}
{% endmacro %}

{#
  The days to roll up, in portions of bounded size, oldest first. Each portion is a list of runs of consecutive days, and a
  run the pair of its first and last day (ISO texts). A rollup that starts anew takes the days of all events, otherwise
  those touched.
#}
{% macro rollup_portions(starts_anew) %}
  {% if not execute %}{{ return([]) }}{% endif %}
  {% if starts_anew %}
    {% set days %}
      select day, count(*) as weight, null as days_since from {{ ref('stg_product__events') }} group by day order by day
    {% endset %}
  {% else %}
    {# An average user-day has a handful of events. #}
    {% set days %}
      select day, 10 * count(*) as weight, day - lag(day) over (order by day) as days_since
      from {{ ref('int_user_days_touched') }}
      group by day
      order by day
    {% endset %}
  {% endif %}
  {% set state = namespace(weight=0) %}
  {% set portions = [] %}
  {% for row in run_query(days).rows %}
    {% set day = row[0] | string %}
    {% if not portions or state.weight + row[1] > var('rollup_events_per_portion') %}
      {% do portions.append([[day, day]]) %}
      {% set state.weight = 0 %}
    {% elif row[2] is not none and row[2] > 1 %}
      {% do portions[-1].append([day, day]) %}
    {% endif %}
    {% do portions[-1][-1].pop() %}
    {% do portions[-1][-1].append(day) %}
    {% set state.weight = state.weight + row[1] | int %}
  {% endfor %}
  {{ return(portions) }}
{% endmacro %}

{# Before the first portion, inside the transaction. #}
{% macro forget_touched_user_days() %}
  {% if is_incremental() %}
    delete from {{ this }} as rolled_up
    using {{ ref('int_user_days_touched') }} as touched
    where rolled_up.user_id = touched.user_id and rolled_up.day = touched.day
  {% else %}
    select 1
  {% endif %}
{% endmacro %}

{# After the first portion, inside the transaction: the other ones, and what the next run must know. #}
{% macro roll_up_the_rest() %}
  {% if execute %}
    {% set starts_anew = not is_incremental() %}
    {% set portions = rollup_portions(starts_anew) %}
    {% for portion in portions[1:] %}
      {% do run_query('insert into ' ~ this ~ ' ' ~ user_days_query(portion, starts_anew)) %}
      {% do log('int_user_days: ' ~ (loop.index + 1) ~ ' of ' ~ (portions | length) ~ ' portions, up to '
                ~ portion[-1][1], info=true) %}
    {% endfor %}
  {% endif %}
  {% set mark = rolled_up_to() %}
  delete from {{ rollup_state('rollup_mark') }};
  insert into {{ rollup_state('rollup_mark') }}
  select
    (select max(batch_id) from {{ source('raw', 'batches') }}),
    until,
    {{ mark.batch_id }},
    {{ mark.as_of or 'null' }}
  from {{ source('raw', 'moments') }} where is_live;
  delete from {{ rollup_state('rolled_up_identities') }} where {{ only_newly_identified() }};
  insert into {{ rollup_state('rolled_up_identities') }}
  select anonymous_id, user_id from {{ ref('int_anonymous_identities') }} where {{ only_newly_identified() }}
{% endmacro %}
