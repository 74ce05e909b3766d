{#
  Texts that people and exports wrote, as values. What can't be read is NULL, never an error and never a guess, an
  objection apart; the test `crm_values_are_readable` lists how many there are.
#}

{# Trimmed, and NULL when nothing is left. #}
{% macro text_of(value) -%}
  nullif(trim({{ value }}), '')
{%- endmacro %}

{# Also as sheets show one: `12,500.00`, `EUR 60,000`, `$1,200`. What else may be meant by a comma is not guessed at. #}
{% macro number_of(value) -%}
  {%- set shown = "regexp_replace(trim(" ~ value ~ "), '^([A-Z]{3}|[$€£])\\s*|\\s*([A-Z]{3}|[$€£])$', '', 'g')" -%}
  (case
    when isfinite(try_cast({{ value }} as double)) then try_cast({{ value }} as double)
    when regexp_matches({{ shown }}, '^-?(\d{1,3}(,\d{3})+|\d+)([.]\d+)?$') then try_cast(replace({{ shown }}, ',', '') as double)
  end)
{%- endmacro %}

{# A whole number; fractions are dropped, so that 50.9 employees are not yet 51. #}
{% macro integer_of(value) -%}
  try_cast(floor({{ number_of(value) }}) as bigint)
{%- endmacro %}

{% macro boolean_of(value) -%}
  (case
    when lower(trim({{ value }})) in ('true', 't', 'yes', 'y', 'on', 'x', '1', '1.0') then true
    when lower(trim({{ value }})) in ('false', 'f', 'no', 'n', 'off', '0', '0.0') then false
  end)
{%- endmacro %}

{# Whether what was said of a trait is what a rule asks for. Yes and no are asked for in one spelling and said in many. #}
{% macro trait_matches(said, pattern) -%}
  ({{ matches_glob('lower(trim(' ~ said ~ '))', pattern) }}
    or ({{ pattern }} in ('true', 'false') and {{ boolean_of(said) }} = ({{ pattern }} = 'true')))
{%- endmacro %}

{#
  Whether somebody objects, to being written to for example. What is there and can't be read is an objection: taken for none it
  would be acted against somebody's will.
#}
{% macro objection_of(value) -%}
  coalesce({{ boolean_of(value) }}, case when {{ text_of(value) }} is not null then true end)
{%- endmacro %}

{#
  A moment as naive UTC: an offset is applied, without one it is UTC already. Every spelling of dagster_project/core/iso_moments.py
  is one, the basic format and a comma among them. A cast alone would find the year 6 in `6/1/26`, a time zone in `PM`, and ignore
  both `PM` and `Europe/Berlin`. A year before 1900 is no date of a CRM: .NET's empty date is in the year 1.
#}
{% macro timestamp_of(value) -%}
  {%- set basic = "'^(\\d{4})(\\d\\d)(\\d\\d)T(\\d\\d)(\\d\\d)(\\d\\d)', '\\1-\\2-\\3T\\4:\\5:\\6'" -%}
  {%- set spelled = "regexp_replace(replace(upper(trim(" ~ value ~ ")), ',', '.'), " ~ basic ~ ")" -%}
  {%- set day = "^(19|[2-9]\\d)\\d\\d[-/]\\d{1,2}[-/]\\d{1,2}" -%}
  {%- set clock = "[T ]+\\d{1,2}:\\d\\d(:\\d\\d(\\.\\d+)?)?" -%}
  (case
    when regexp_matches({{ spelled }}, '{{ day }}{{ clock }}\s*(Z|[+-]\d\d(:?\d\d)?)$')
      then try_cast(regexp_replace({{ spelled }}, '\s+([+-])', '\1') as timestamptz) at time zone 'UTC'
    when regexp_matches({{ spelled }}, '{{ day }}({{ clock }}\s*(UTC|GMT)?)?$') then try_cast({{ spelled }} as timestamp)
  end)
{%- endmacro %}

{% macro subscription_status_of(value) -%}
  (case when lower(trim({{ value }})) in ('free', 'trial', 'paying', 'churned') then lower(trim({{ value }})) end)
{%- endmacro %}

{% macro value_of(value, kind) -%}
  {%- if kind == 'text' -%} {{ text_of(value) }}
  {%- elif kind == 'lower' -%} lower({{ text_of(value) }})
  {%- elif kind == 'email' -%} {{ email_of(value) }}
  {%- elif kind == 'number' -%} {{ number_of(value) }}
  {%- elif kind == 'integer' -%} {{ integer_of(value) }}
  {%- elif kind == 'boolean' -%} {{ boolean_of(value) }}
  {%- elif kind == 'objection' -%} {{ objection_of(value) }}
  {%- elif kind == 'timestamp' -%} {{ timestamp_of(value) }}
  {%- elif kind == 'subscription_status' -%} {{ subscription_status_of(value) }}
  {%- else -%} {{ exceptions.raise_compiler_error("unknown kind of value: " ~ kind) }}
  {%- endif -%}
{%- endmacro %}

{# Whether something is there that can't be read. #}
{% macro is_unread(value, kind) -%}
  ({{ text_of(value) }} is not null and {{ value_of(value, 'boolean' if kind == 'objection' else kind) }} is null)
{%- endmacro %}

{#
  An address in lower case, as people and exports write it: `Ann <ann@acme.com>`, `mailto:`, with what nobody sees in a text
  that was copied. An opt-out has to find its user. dagster_project/landing/domains.py finds the hosts of the same.
#}
{% macro email_of(value) -%}
  {%- set seen = "regexp_replace(nfc_normalize(" ~ value ~ "), '\\pC+', '', 'g')" -%}
  {%- set named = "regexp_replace(" ~ seen ~ ", '^.*<([^<>]*)>[^<>]*$', '\\1')" -%}
  nullif(lower(case
    when regexp_matches({{ value }}, '^[0-9A-Za-z_][!-9;=?-~]*[0-9A-Za-z]$') then {{ value }}
    else regexp_replace({{ named }}, '^[\s\pZ\x27"]*((?i:mailto:|smtp:)[\s\pZ]*)?|[\s\pZ\x27".]+$', '', 'g')
  end), '')
{%- endmacro %}

{#
  All addresses that a text names, as `email_of` writes them. Where somebody has said no, each of them has: which one a person
  uses elsewhere nobody knows.
#}
{% macro addresses_of(value) -%}
  {%- set seen = "regexp_replace(nfc_normalize(" ~ value ~ "), '\\pC+', '', 'g')" -%}
  {%- set written = "translate(lower(" ~ seen ~ "), '＠．。', '@..')" -%}
  {{ each_found(written, '[^\\s\\pZ,;:|<>()\\[\\]"]+@[^\\s\\pZ,;:|/<>()\\[\\]"?&=@]+', trimmed='^[\\x27`./]+|[\\x27`.]+$') }}
{%- endmacro %}

{# Whether a text is one address: something, one @, something. #}
{% macro is_email(value) -%}
  regexp_matches({{ value }}, '^[^@\s"<>\[\]]+@[^@\s"<>\[\]]+$')
{%- endmacro %}

{# The host of a domain that someone typed or pasted as an address of a web site. Lower case. #}
{% macro host_of(value) -%}
  nullif(regexp_replace(regexp_replace(lower(trim({{ value }})), '^[a-z][a-z0-9+.-]*://', ''), '[/:?#].*$', ''), '')
{%- endmacro %}

{# How identify traits name a person: in one piece, or as first and last name in either spelling. #}
{% macro person_name(traits) -%}
  coalesce(
    {{ text_of(json_text(traits, "'name'")) }}
    {%- for first, last in [('firstName', 'lastName'), ('first_name', 'last_name')] %},
    nullif(concat_ws(
      ' ', {{ text_of(json_text(traits, "'" ~ first ~ "'")) }}, {{ text_of(json_text(traits, "'" ~ last ~ "'")) }}
    ), '')
    {%- endfor %}
  )
{%- endmacro %}
