with extracts as (

    select * from {{ ref('stg_crm__extracts') }}

),

versions as (

    select * from {{ source('raw', 'crm_versions') }}

),

-- The first extract shows what had been there all along: its rows are known from their own dates.
known as (

    select
        versions.version_id,
        versions.entity,
        versions.key,
        versions.updated_at,
        extracts.extract_number,
        extracts.extract_at,
        {{ undated_number('versions.updated_at', 'extracts.extract_number', 'versions.entity, versions.key') }} as undated_number,
        case
            when extracts.extract_number = 1
                then coalesce(versions.updated_at, versions.created_at, timestamp '0001-01-01 00:00:00')
            else extracts.extract_at
        end as known_from
    from versions
    inner join {{ source('raw', 'crm_extract_rows') }} as held on versions.version_id = held.version_id
    inner join extracts on held.extract_id = extracts.extract_id and versions.entity = extracts.entity

)

select * from known
