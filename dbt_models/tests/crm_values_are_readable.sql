{{ config(severity='warn', tags=['features']) }}
{%- set checks = [] -%}
{%- for entity in ['accounts', 'contacts', 'opportunities', 'owners', 'tickets'] -%}
  {%- for column, kind in crm_columns(entity).items() if kind not in ('text', 'lower', 'email') -%}
    {%- do checks.append({'entity': entity, 'column': column, 'kind': kind}) -%}
  {%- endfor -%}
{%- endfor %}

with current_records as (

    select distinct records.version_id, records.entity
    from {{ ref('int_crm_records') }} as records
    where not records.is_deleted

),

{% for entity in ['accounts', 'contacts', 'opportunities', 'owners', 'tickets'] -%}
{{ entity }} as (

    select {{ json_texts('versions.payload', crm_columns(entity)) }} as fields
    from current_records
    inner join {{ source('raw', 'crm_versions') }} as versions on current_records.version_id = versions.version_id
    where current_records.entity = '{{ entity }}'

),

{% endfor -%}
found as (

    {% for check in checks -%}
    select
        '{{ check.entity }}' as entity,
        '{{ check.column }}' as column_name,
        count(*) as unreadable,
        min(fields.{{ check.column }}) as example
    from {{ check.entity }}
    where {{ is_unread('fields.' ~ check.column, check.kind) }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
)

select * from found where unreadable > 0
