{{ config(tags=['crm']) }}
with extracts as (

    select * from {{ ref('stg_crm__extracts') }}

),

versions as (

    select * from {{ source('raw', 'crm_versions') }}

),

-- A version stands in all extracts from the first of its row up to the last. The first extract of all, which no other shares a
-- row with, shows what had been there all along: its rows are known from their own dates.
known as (

    select
        versions.version_id,
        versions.entity,
        versions.key,
        versions.updated_at,
        extracts.extract_number,
        {{ undated_number('versions.updated_at', 'extracts.extract_number', 'versions.entity, versions.key') }} as undated_number,
        case
            when extracts.extract_number = 1
                then coalesce(versions.updated_at, versions.created_at, timestamp '0001-01-01 00:00:00')
            else first_extracts.extract_at
        end as known_from,
        case
            when extracts.extract_number = 1 then coalesce(versions.created_at, timestamp '0001-01-01 00:00:00')
            else first_extracts.extract_at
        end as may_stand_from
    from versions
    inner join {{ source('raw', 'crm_extract_rows') }} as held on versions.version_id = held.version_id
    inner join extracts on held.extract_id = extracts.extract_id and versions.entity = extracts.entity
    -- What an earlier version has stored names no first one until the next load.
    inner join extracts as first_extracts
        on coalesce(held.first_extract_id, held.extract_id) = first_extracts.extract_id

)

select * from known
