{%- set range = past_range() -%}
-- Which version of a CRM record held on which days, as far as it was known then; none on days on which it was deleted.
-- Disjoint spans per record.
with known as (

    select
        entity,
        key,
        greatest(cast(known_from as date), {{ range.first }}) as from_day,
        -- The order of `newest_version_first`.
        max({{ struct_of({
            'undated_number': 'undated_number',
            'updated_at': "coalesce(updated_at, timestamp '0001-01-01 00:00:00')",
            'is_dated': 'updated_at is not null',
            'extract_number': 'extract_number',
            'version_id': 'version_id',
        }) }}) as newest,
        max(extract_number) as extract_number
    from {{ ref('int_crm_versions') }}
    where entity in ('accounts', 'contacts', 'tickets') and known_from < cast({{ range.end }} as timestamp)
    group by entity, key, from_day

),

standing as (

    select
        entity,
        key,
        from_day,
        lead(from_day, 1, {{ range.end }}) over (partition by entity, key order by from_day) as to_day,
        max(newest) over (partition by entity, key order by from_day) as newest,
        max(extract_number) over (partition by entity, key order by from_day) as extract_number
    from known

),

-- The next extract has it no more.
extracts as (

    select entity, extract_number - 1 as extract_number, cast(extract_at as date) as gone_from
    from {{ ref('stg_crm__extracts') }}
    where extract_number > 1

)

select
    standing.entity,
    standing.key,
    standing.newest.version_id as version_id,
    standing.from_day,
    least(standing.to_day, coalesce(extracts.gone_from, standing.to_day)) as to_day
from standing
left join extracts on standing.entity = extracts.entity and standing.extract_number = extracts.extract_number
where standing.from_day < least(standing.to_day, coalesce(extracts.gone_from, standing.to_day))
