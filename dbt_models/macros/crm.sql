{# The columns that each CRM entity may have, without its key, and what they hold. Only keys are required. #}
{% macro crm_columns(entity) %}
  {% set columns = {
    'accounts': {
      'name': 'text', 'domain': 'lower', 'employee_count': 'integer', 'industry': 'text', 'tech_stack': 'text',
      'department_count': 'integer', 'estimated_acv': 'number', 'contract_value': 'number', 'account_tier': 'text',
      'owner_id': 'text', 'lifecycle_stage': 'text', 'plan': 'text', 'subscription_status': 'subscription_status',
      'is_target_account': 'boolean', 'do_not_contact': 'objection', 'segment_override': 'text',
      'custom_fields': 'text', 'updated_at': 'timestamp',
    },
    'contacts': {
      'email': 'email', 'name': 'text', 'role': 'text', 'department': 'text', 'account_id': 'text',
      'lifecycle_stage': 'text', 'email_opt_out': 'objection', 'do_not_contact': 'objection', 'do_not_sell': 'objection',
      'owner_id': 'text', 'updated_at': 'timestamp',
    },
    'opportunities': {
      'account_id': 'text', 'contact_id': 'text', 'stage': 'text', 'is_closed': 'boolean', 'is_won': 'boolean',
      'amount': 'number', 'created_at': 'timestamp', 'closed_at': 'timestamp',
    },
    'owners': {
      'name': 'text', 'email': 'email', 'team': 'lower', 'is_active': 'boolean', 'slack_user_id': 'text',
    },
    'tickets': {
      'contact_id': 'text', 'email': 'email', 'account_id': 'text', 'category': 'lower', 'subject': 'text',
      'created_at': 'timestamp', 'status': 'text',
    },
    'suppression': {'reason': 'text', 'added_at': 'timestamp'},
  } %}
  {{ return(columns[entity]) }}
{% endmacro %}

{#
  source -> renamed -> select of one CRM entity: its versions, typed. Grain: version_id. Where somebody may object to something,
  `unread_objections` names what could not be read and counts as an objection.

  A version never changes and has a higher number than all that were there: as a table, it takes in the new ones alone.
#}
{% macro crm_staging(entity, key) %}
{%- set objections = [] -%}
{%- for column, kind in crm_columns(entity).items() if kind == 'objection' %}{% do objections.append(column) %}{% endfor -%}
with source as (

    select version_id, key, {{ json_texts('payload', crm_columns(entity)) }} as fields
    from {{ source('raw', 'crm_versions') }}
    where entity = '{{ entity }}'
    {%- if is_incremental() %}
        and version_id > (select coalesce(max(version_id), 0) from {{ this }})
    {%- endif %}

),

renamed as (

    select
        version_id,
        key as {{ key }}
        {%- for column, kind in crm_columns(entity).items() %},
        {{ value_of('fields.' ~ column, kind) }} as {{ column }}
        {%- endfor %}
        {%- if objections %},
        nullif(concat_ws(
            '; '
            {%- for column in objections %},
            case when {{ is_unread('fields.' ~ column, 'objection') }} then '{{ column }}: ' || trim(fields.{{ column }}) end
            {%- endfor %}
        ), '') as unread_objections
        {%- endif %}
    from source

)

select * from renamed
{% endmacro %}

{#
  The newest extract up to a version's own in which its record has no `updated_at`; 0 is none. Dates order versions only
  where both have one: a version without says what its extract says, and whatever came before it is over.
#}
{% macro undated_number(updated_at, extract_number, key) -%}
  coalesce(max(case when {{ updated_at }} is null then {{ extract_number }} end) over (
            partition by {{ key }} order by {{ extract_number }}
        ), 0)
{%- endmacro %}

{#
  Whether a version of a record is seen at a moment, as a condition. A run's live moment sees what was known by then. The
  baseline asks what is news to a new installation, and that somebody changed a record lately is none: it takes what the
  first extract says for what stood all along, unless it came into being later.
#}
{% macro is_seen_at(moments, versions) -%}
  case when {{ moments }}.is_live is false then {{ versions }}.may_stand_from else {{ versions }}.known_from end
    <= {{ moments }}.until
{%- endmacro %}

{# An order of the versions of one record: the one that holds comes first, then the one that would hold without it. #}
{% macro newest_version_first(versions) -%}
  {{ versions }}.undated_number desc, {{ versions }}.updated_at desc nulls last, {{ versions }}.extract_number desc, {{ versions }}.version_id desc
{%- endmacro %}
