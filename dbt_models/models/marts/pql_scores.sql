-- The close rate to expect is the last step of the mapping that begins at or below the score.
with steps as (

    select
        model_version,
        list(score_from order by score_from) as starts,
        list(expected_close_rate order by score_from) as rates
    from {{ source('calibration', 'expected_rates') }}
    group by model_version

)

select
    user_id,
    account_id,
    contact_id,
    email,
    usage_score,
    engagement_score,
    intent_score,
    fit_tier,
    fit_multiplier,
    pql_score,
    classification,
    segment,
    motion,
    segment_source,
    activation_stage,
    usage_tier,
    last_active_at,
    features_used,
    explanation,
    as_of,
    scores.model_version,
    activated_at,
    milestones,
    is_customer,
    steps.rates[len(list_filter(steps.starts, lambda start: start <= scores.pql_score))] as expected_close_rate
from {{ source('scores', 'pql_scores') }} as scores
left join steps on scores.model_version = steps.model_version
