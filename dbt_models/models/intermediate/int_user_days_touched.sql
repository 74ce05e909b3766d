{{ config(tags=['delta']) }}
with owned as (

    select user_id, day from {{ ref('int_days_touched') }} where user_id is not null
    union
    select identities.user_id, touched.day
    from {{ ref('int_days_touched') }} as touched
    inner join {{ rows_among(
        ref('int_anonymous_identities'),
        'anonymous_key',
        'select ' ~ key_of('anonymous_id') ~ ' from ' ~ ref('int_days_touched') ~ ' where user_id is null'
    ) }} as identities
        on touched.anonymous_id = identities.anonymous_id
    where touched.user_id is null and identities.user_id is not null

)

select user_id, day
from owned
