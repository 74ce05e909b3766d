{{ config(tags=['crm']) }}
with moments as (

    select as_of, until, is_live from {{ source('raw', 'moments') }}

),

known as (

    select * from {{ ref('int_crm_versions') }}

),

extracts as (

    select * from {{ ref('stg_crm__extracts') }}

),

-- Before the first extract that one speaks, as far as its rows were known.
latest_extracts as (

    select moments.as_of, extracts.entity, max(extracts.extract_number) as extract_number
    from moments
    inner join extracts on extracts.extract_at <= moments.until or extracts.extract_number = 1
    group by moments.as_of, extracts.entity

),

visible as (

    select
        moments.as_of,
        moments.until,
        moments.is_live,
        known.*,
        row_number() over (
            partition by moments.as_of, known.entity, known.key
            order by {{ newest_version_first('known') }}
        ) as recency,
        max(known.extract_number) over (
            partition by moments.as_of, known.entity, known.key
        ) as last_extract_number
    from known
    inner join moments on {{ is_seen_at('moments', 'known') }}

),

current_records as (

    select
        visible.as_of,
        visible.until,
        visible.is_live,
        visible.entity,
        visible.key,
        visible.version_id,
        visible.last_extract_number < latest_extracts.extract_number as is_deleted
    from visible
    inner join latest_extracts
        on visible.as_of = latest_extracts.as_of and visible.entity = latest_extracts.entity
    where visible.recency = 1

)

select * from current_records
