-- Whether somebody may be written to is asked of the newest extract, whatever moment is scored: like the suppression list it
-- protects people and scores nobody.
with latest_extracts as (

    select entity, max(extract_number) as extract_number
    from {{ ref('stg_crm__extracts') }}
    where entity in ('accounts', 'contacts')
    group by entity

),

newest as (

    select
        known.entity,
        known.key,
        known.version_id,
        max(known.extract_number) over (partition by known.entity, known.key) as last_extract_number,
        row_number() over (
            partition by known.entity, known.key
            order by known.updated_at desc nulls last, known.extract_number desc, known.version_id desc
        ) as recency
    from {{ ref('int_crm_versions') }} as known
    where known.entity in ('accounts', 'contacts')

)

select
    newest.entity,
    newest.key,
    coalesce(contacts.email_opt_out, false) as email_opt_out,
    coalesce(contacts.do_not_contact, accounts.do_not_contact, false) as do_not_contact,
    coalesce(contacts.do_not_sell, false) as do_not_sell,
    newest.last_extract_number < latest_extracts.extract_number as is_gone
from newest
inner join latest_extracts on newest.entity = latest_extracts.entity
left join {{ ref('stg_crm__contacts') }} as contacts on newest.version_id = contacts.version_id
left join {{ ref('stg_crm__accounts') }} as accounts on newest.version_id = accounts.version_id
where newest.recency = 1
