with source as (

    select * from {{ source('raw', 'crm_extracts') }}

),

-- An extract that shrank is a failed one: it neither shows rows nor deletes any.
renamed as (

    select
        extract_id,
        entity,
        extract_at,
        row_number() over (partition by entity order by extract_at, extract_id) as extract_number
    from source
    where is_complete

)

select * from renamed
