select account_id, contact_id, opportunity_id, won_at, created_at, known_from
from {{ ref('int_won_opportunities') }}
