{%- set range = past_range() -%}
-- The latest group of users that the CRM knew as an account, and the latest that it didn't. Disjoint spans per user.
with words as (

    select user_id, day, greatest(valid_from, {{ range.first }}) as from_day, {{ each_of('groups') }} as word
    from {{ ref('past_user_days') }}
    where groups is not null and valid_from < {{ range.end }}

),

said as (

    select
        user_id,
        word.group_id as group_id,
        from_day,
        max(word.last_at) as last_at,
        max(word.last_received_at) as last_received_at
    from words
    group by user_id, word.group_id, from_day

),

-- Which group was the latest matters to those alone who have several.
several as (

    select user_id from said group by user_id having count(distinct group_id) > 1

),

standing as (

    select
        row_number() over (order by user_id, group_id, from_day) as id,
        user_id,
        group_id,
        from_day,
        lead(from_day, 1, {{ range.end }}) over (partition by user_id, group_id order by from_day) as to_day,
        max(last_at) over (partition by user_id, group_id order by from_day) as last_at,
        max(last_received_at) over (partition by user_id, group_id order by from_day) as last_received_at
    from (
        select * from said where user_id in (select user_id from several)
        union all
        select user_id, group_id, min(from_day), max(last_at), max(last_received_at)
        from said
        where user_id not in (select user_id from several)
        group by user_id, group_id
    )

),

accounts as (

    select account_id, from_day, to_day from {{ ref('past_accounts') }}

),

told as (

    select user_id || case when account_id is null then ' unknown' else ' known' end as kind, *
    from (
        {{ cut_by('standing', 'accounts', 'group_id', 'account_id',
                  ['user_id', 'group_id', 'last_at', 'last_received_at'], {'account_id': 'account_id'}) }}
    )

),

latest as (

    {{ best_of('told', 'kind', ['user_id', 'group_id', 'account_id'],
               'spans.last_at desc, spans.last_received_at desc, spans.group_id') }}

),

-- Both kinds side by side.
cuts as (

    select user_id, change_day as from_day, lead(change_day, 1, {{ range.end }}) over (partition by user_id order by change_day) as to_day
    from (select user_id, from_day as change_day from latest union select user_id, to_day from latest)

)

select
    cuts.user_id,
    max(case when latest.account_id is not null then latest.group_id end) as known_group_id,
    max(case when latest.account_id is null then latest.group_id end) as unknown_group_id,
    cuts.from_day,
    cuts.to_day
from cuts
inner join latest
    on cuts.user_id = latest.user_id and latest.from_day <= cuts.from_day and cuts.from_day < latest.to_day
where cuts.from_day < cuts.to_day
group by cuts.user_id, cuts.from_day, cuts.to_day
