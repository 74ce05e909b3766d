{#
  What the features of many days are computed with: spans of days, from_day up to but not including to_day, in which something
  holds. A day's value is that of the span that holds the day, so no row has to be computed once per day.
#}

{# The days to score, what they reach back to, and numbers of the playbook, as literals: what scans are pruned by. #}
{% macro past_range() %}
  {% set query %}
    select
      {{ literal_of('date', 'first_day', '%Y-%m-%d') }} as "first",
      {{ literal_of('date', 'last_day + 1', '%Y-%m-%d') }} as "end",
      cast(window_days as varchar) as "window",
      cast(2 * window_days as varchar) as two_windows,
      cast(min_weeks_days as varchar) as min_days
    from {{ source('raw', 'past_range') }} cross join {{ ref('stg_playbook__settings') }}
  {% endset %}
  {% if not execute %}
    {{ return({'first': "date '2000-01-01'", 'end': "date '2000-01-02'", 'window': 30, 'two_windows': 60, 'min_days': 7}) }}
  {% endif %}
  {{ return(asked(query)[0]) }}
{% endmacro %}

{# Later than every day. #}
{% macro never() %}date '9999-12-31'{% endmacro %}

{# The day after a number of days. #}
{% macro days_after(day, days) -%}
  ({{ day }} + cast({{ days }} as integer))
{%- endmacro %}

{# One row per day of a span, in a select list. #}
{% macro each_day(from_day, to_day) -%}
  cast(unnest(generate_series({{ from_day }}, {{ to_day }} - 1, interval 1 day)) as date)
{%- endmacro %}

{#
  Of overlapping spans of a key, each with the part that no earlier one covers: they cover the same days, each once.

  spans: a relation with the keys, from_day and to_day.
#}
{% macro disjoint(spans, keys) %}
select {{ keys }}, from_day, to_day
from (
    select {{ keys }}, greatest(from_day, coalesce(covered_to, from_day)) as from_day, to_day
    from (
        select
            {{ keys }},
            from_day,
            to_day,
            max(to_day) over (
                partition by {{ keys }} order by from_day rows between unbounded preceding and 1 preceding
            ) as covered_to
        from (select {{ keys }}, from_day, max(to_day) as to_day from {{ spans }} group by {{ keys }}, from_day)
    )
)
where from_day < to_day
{% endmacro %}

{#
  Spans cut where a lookup changes, with what it says in each piece; nothing (NULL) where it has no span.

  spans: a relation whose rows are told apart by `id`, with from_day and to_day.
  lookup: a relation of disjoint spans per key.
  key: the column of `spans` that is looked up, and lookup_key that of `lookup`.
  keeps, takes: the columns of either that go on.
#}
{% macro cut_by(spans, lookup, key, lookup_key, keeps, takes) %}
select
    {%- for column in keeps %}
    pieces.{{ column }},
    {%- endfor %}
    {%- for column, name in takes.items() %}
    said.{{ column }} as {{ name }},
    {%- endfor %}
    pieces.from_day,
    pieces.to_day
from (
    select
        {%- for column in keeps %}
        spans.{{ column }},
        {%- endfor %}
        {{ 'spans.' ~ key ~ ',' if key not in keeps }}
        cuts.change_day as from_day,
        lead(cuts.change_day, 1, spans.to_day) over (partition by spans.id order by cuts.change_day) as to_day
    from {{ spans }} as spans
    inner join (
        select id, from_day as change_day from {{ spans }}
        union
        select spans.id, lookup.from_day
        from {{ spans }} as spans
        inner join {{ lookup }} as lookup
            on spans.{{ key }} = lookup.{{ lookup_key }}
            and spans.from_day < lookup.from_day and lookup.from_day < spans.to_day
        union
        select spans.id, lookup.to_day
        from {{ spans }} as spans
        inner join {{ lookup }} as lookup
            on spans.{{ key }} = lookup.{{ lookup_key }}
            and spans.from_day < lookup.to_day and lookup.to_day < spans.to_day
    ) as cuts
        on spans.id = cuts.id
) as pieces
left join {{ lookup }} as said
    on pieces.{{ key }} = said.{{ lookup_key }} and said.from_day <= pieces.from_day and pieces.from_day < said.to_day
{% endmacro %}

{#
  Of spans that compete for a key, the best on each day: disjoint spans with the columns of the winner.

  spans: a relation with the key, from_day, to_day and the columns.
  order_by: an order of `spans`, the best first.
#}
{% macro best_of(spans, key, columns, order_by) %}
select {{ key }}, {{ columns | join(', ') }}, from_day, to_day
from (
    select
        spans.{{ key }},
        {%- for column in columns %}
        spans.{{ column }},
        {%- endfor %}
        cuts.change_day as from_day,
        cuts.until as to_day,
        row_number() over (partition by spans.{{ key }}, cuts.change_day order by {{ order_by }}) as position
    from (
        select {{ key }}, change_day, lead(change_day) over (partition by {{ key }} order by change_day) as until
        from (
            select {{ key }}, from_day as change_day from {{ spans }}
            union
            select {{ key }}, to_day from {{ spans }}
        )
    ) as cuts
    inner join {{ spans }} as spans
        on cuts.{{ key }} = spans.{{ key }} and spans.from_day <= cuts.change_day and cuts.change_day < spans.to_day
)
where position = 1
{% endmacro %}

{#
  What a measure of users changes by on which day; the ones that are not named don't change.

  at: the day, an expression over the relation.
  values: by measure, by how much.
  measures: all of them, in the order of the columns.
#}
{% macro changes_of(relation, at, values, measures) -%}
  select user_id, {{ at }} as change_day
  {%- for measure in measures %}, {{ values.get(measure, 0) }} as {{ measure }}{% endfor %} from {{ relation }}
{%- endmacro %}
