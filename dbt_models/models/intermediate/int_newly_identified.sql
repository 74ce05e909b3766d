{{ config(tags=['delta']) }}
{%- set mark = rolled_up_to() %}
{%- set identifications %}
    select distinct anonymous_id from {{ ref('int_trait_events') }} where event_type = 'identify' and anonymous_id is not null
{%- endset %}

-- Each by itself, so that what lies before is skipped.
{{ identifications }} and batch_id > {{ mark.batch_id }}
{%- if mark.as_of %}
union
{{ identifications }} and occurred_at > {{ mark.as_of }}
{%- endif %}
