{{ config(materialized='incremental', incremental_strategy='append', on_schema_change='fail', tags=['delta']) }}
with paths as (

    select distinct path_key
    from {{ ref('stg_product__events') }}
    where event_type in ('page', 'screen') and path_key is not null
    {%- if is_incremental() %}
        and batch_id > {{ rolled_up_to().batch_id }}
        and path_key not in (select path_key from {{ this }})
    {%- endif %}

),

globs as (

    select * from {{ ref('int_catalog_entries') }} where match = 'page_path'

),

matches as (

    select paths.path_key, globs.*
    from paths
    inner join globs on {{ matches_glob('paths.path_key', 'globs.event_key') }}

),

-- Of several globs each signal counts once; the feature is that of the longest glob, the most specific one.
ranked as (

    select
        *,
        row_number() over (
            partition by path_key order by feature is null, length(event_key) desc, event_key
        ) as feature_rank
    from matches

),

merged as (

    select
        path_key,
        max(case when feature_rank = 1 then feature end) as feature,
        {%- for signal in signals() %}
        bool_or({{ signal }}) as {{ signal }},
        {%- endfor %}
        {{ distinct_values("case when setup_step then setup_steps[1] end") }} as setup_steps
    from ranked
    group by path_key

)

select * from merged
