{{ config(tags=['crm']) }}
-- Whether somebody may be written to is asked of what came last, whatever moment is scored: like the suppression list it
-- protects people and scores nobody. A no counts whether the newest extract says it, the version updated last, or one that
-- was kept out since.
with latest_extracts as (

    select entity, max(extract_number) as extract_number
    from {{ ref('stg_crm__extracts') }}
    where entity in ('accounts', 'contacts')
    group by entity

),

asked as (

    select
        known.entity,
        known.key,
        known.version_id,
        known.extract_number,
        max(known.extract_number) over (partition by known.entity, known.key) as last_extract_number,
        row_number() over (
            partition by known.entity, known.key
            order by {{ newest_version_first('known') }}
        ) as recency
    from {{ ref('int_crm_versions') }} as known
    where known.entity in ('accounts', 'contacts')

),

said as (

    select
        asked.entity,
        asked.key,
        asked.version_id,
        asked.recency = 1 as holds,
        asked.last_extract_number < latest_extracts.extract_number as is_gone
    from asked
    inner join latest_extracts on asked.entity = latest_extracts.entity
    where asked.recency = 1 or asked.extract_number = asked.last_extract_number

    union all

    select entity, key, version_id, false as holds, false as is_gone
    from {{ ref('int_crm_kept_out') }}
    where entity in ('accounts', 'contacts')

)

select
    said.entity,
    said.key,
    -- Of a record that only extracts have which were kept out, theirs says whom it is about.
    coalesce(max(said.version_id) filter (where said.holds), max(said.version_id)) as version_id,
    bool_or(coalesce(contacts.email_opt_out, false)) as email_opt_out,
    bool_or(coalesce(contacts.do_not_contact, accounts.do_not_contact, false)) as do_not_contact,
    bool_or(coalesce(contacts.do_not_sell, false)) as do_not_sell,
    max(coalesce(contacts.unread_objections, accounts.unread_objections)) as unread_objections,
    bool_or(said.is_gone) as is_gone
from said
left join {{ ref('stg_crm__contacts') }} as contacts on said.version_id = contacts.version_id
left join {{ ref('stg_crm__accounts') }} as accounts on said.version_id = accounts.version_id
group by said.entity, said.key
