{# The vocabulary of the event catalogue. Which events feed a signal is the catalogue's business. #}

{% macro signals() %}
  {{ return(intent_signals() + [
    'team_invite', 'integration_connected', 'integration_disconnected', 'data_import', 'setup_step',
    'sales_request', 'limit_hit', 'seat_added', 'upgrade_page_view', 'unsubscribe', 'resubscribe',
  ]) }}
{% endmacro %}

{# The six of the intent component: an event that feeds one of them is never an action. #}
{% macro intent_signals() %}
  {{ return([
    'pricing_page_view', 'upgrade_click', 'plan_comparison', 'limit_support_contact', 'invoice_download',
    'api_key_generated',
  ]) }}
{% endmacro %}

{# Signals whose events are counted per user-day. #}
{% macro counted_signals() %}
  {{ return(intent_signals() + ['team_invite', 'sales_request', 'limit_hit', 'seat_added', 'upgrade_page_view']) }}
{% endmacro %}

{# Signals whose latest time is kept, with the column that publishes it. #}
{% macro dated_signals() %}
  {{ return({
    'upgrade_click': 'last_upgrade_click_at',
    'sales_request': 'last_sales_request_at',
    'limit_support_contact': 'last_limit_contact_at',
    'limit_hit': 'last_limit_hit_at',
    'pricing_page_view': 'last_pricing_view_at',
    'plan_comparison': 'last_plan_comparison_at',
    'api_key_generated': 'last_api_key_at',
    'invoice_download': 'last_invoice_at',
  }) }}
{% endmacro %}
