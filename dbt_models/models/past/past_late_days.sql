{%- set range = past_range() -%}
-- User-days that some of the days to score saw otherwise than today: somebody was anonymous then and was identified after it.
with anonymous_days as (

    select
        identities.user_id,
        touched.day,
        greatest(touched.day, {{ range.first }}) as seen_from,
        cast(identities.identified_at as date) as identified_on
    from {{ source('raw', 'touched') }} as touched
    inner join {{ ref('int_anonymous_identities') }} as identities on touched.anonymous_id = identities.anonymous_id
    where nullif(touched.user_id, '') is null and touched.day < {{ range.end }}

),

late as (

    select user_id, day, seen_from, identified_on from anonymous_days where identified_on > seen_from

),

-- From when on there was one more to it.
versions as (

    select user_id, day, seen_from as valid_from from late
    union
    select user_id, day, identified_on from late where identified_on < {{ range.end }}

)

select
    row_number() over (order by user_id, day, valid_from) as version_id,
    user_id,
    day,
    valid_from,
    lead(valid_from, 1, {{ never() }}) over (partition by user_id, day order by valid_from) as valid_to
from versions
