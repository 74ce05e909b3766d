with entries as (

    select
        lower(trim(match)) as match,
        lower(trim(event_name)) as event_key,
        trim(event_name) as event_name,
        lower({{ text_of('signal') }}) as signal,
        {{ text_of('feature') }} as feature,
        coalesce({{ boolean_of('is_action') }}, true) as is_action
    from {{ ref('event_catalog') }}
    where {{ text_of('event_name') }} is not null

),

-- A step is its event's name, however often and in whichever spelling the catalogue lists it.
named as (

    select *, min(event_name) over (partition by event_key) as step_name
    from entries

),

-- Several rows of one name are one entry: it feeds each signal once.
merged as (

    select
        match,
        event_key,
        min(feature) as feature,
        {%- for signal in signals() %}
        bool_or(coalesce(signal = '{{ signal }}', false)) as {{ signal }},
        {%- endfor %}
        bool_and(is_action) and not bool_or(
            coalesce(signal in ('{{ intent_signals() | join("', '") }}'), false)
        ) as is_action,
        {{ distinct_values("case when signal = 'setup_step' then step_name end") }} as setup_steps
    from named
    group by match, event_key

)

select * from merged
