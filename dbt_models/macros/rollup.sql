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
  The days to roll up, in portions of bounded size, oldest first: of each the condition on `events` that finds its days, as
  a literal, and the last day. Ranges of time are what DuckDB skips row groups by; a long list of days would be a join that
  holds all events. A rollup that starts anew takes the days of all events, otherwise those touched. Without any, one
  portion that no event is in.
#}
{% macro rollup_portions(starts_anew) %}
  {% if not execute %}{{ return([{'days': 'false', 'up_to': 'none'}]) }}{% endif %}
  {#- Each is compared with every event: of many, which devices with wrong clocks send, it is asked which days they are. -#}
  {%- set most_runs = 20 %}
  {% set query %}
    with days as (
      {%- if starts_anew %}
      select day, count(*) as weight from {{ ref('stg_product__events') }} group by day
      {%- else %}
      {# An average user-day has a handful of events. #}
      select day, 10 * count(*) as weight from {{ ref('int_user_days_touched') }} group by day
      {%- endif %}
    ),
    portions as (
      select day, (sum(weight) over (order by day) - weight) // {{ var('rollup_events_per_portion') }} as portion
      from days
    ),
    steps as (
      select *, {{ days_before('day', 'row_number() over (partition by portion order by day)') }} as before_the_run
      from portions
    ),
    runs as (
      select portion, min(day) as first_day, max(day) as last_day from steps group by portion, before_the_run
    )
    {%- set from_day = "'events.occurred_at >= timestamp ''' || " %}
    {%- set to_day = " || ' 00:00:00'' and events.occurred_at <= timestamp ''' || " %}
    {%- set end = " || ' 23:59:59.999999'''" %}
    select
      case when count(*) <= {{ most_runs }}
        then string_agg({{ from_day }}first_day{{ to_day }}last_day{{ end }}, ' or ' order by first_day)
        else {{ from_day }}min(first_day){{ to_day }}max(last_day){{ end }}
          {%- if not starts_anew %} || ' and cast(events.occurred_at as date) in (select day from {{ ref('int_user_days_touched') }})'{% endif %}
      end as days,
      cast(max(last_day) as varchar) as up_to
    from runs
    group by portion
    union all
    select 'false', 'none' where not exists (select * from days)
    order by up_to
  {% endset %}
  {{ return(asked(query, one_by_one=true)) }}
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
      {% do run_query('insert into ' ~ this ~ ' by name ' ~ user_days_query(portion.days, starts_anew)) %}
      {% do log('int_user_days: ' ~ (loop.index + 1) ~ ' of ' ~ (portions | length) ~ ' portions, up to '
                ~ portion.up_to, info=true) %}
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
