{{ config(tags=['crm']) }}
-- Of several contacts with one address a deleted one comes last, then the newest wins.
select as_of, email, contact_id, account_id, is_deleted
from (
    select
        *,
        row_number() over (
            partition by as_of, email order by is_deleted, updated_at desc nulls last, contact_id
        ) as position
    from {{ ref('int_crm_contacts') }}
    where email is not null
)
where position = 1
