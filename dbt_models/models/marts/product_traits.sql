with accounts as (

    select
        features.account_id,
        features.owner_id,
        features.contract_value,
        scores.segment,
        features.custom_fields,
        features.updated_at
    from {{ ref('account_features') }} as features
    inner join {{ source('raw', 'moments') }} as moments on features.as_of = moments.as_of and moments.is_live
    inner join {{ source('scores', 'pqa_scores') }} as scores on features.account_id = scores.account_id

),

users as (

    select features.user_id, features.account_id, features.contact_owner_id, scores.segment, contacts.updated_at
    from {{ ref('user_features') }} as features
    inner join {{ source('raw', 'moments') }} as moments on features.as_of = moments.as_of and moments.is_live
    inner join {{ source('scores', 'pql_scores') }} as scores on features.user_id = scores.user_id
    left join {{ ref('int_crm_contacts') }} as contacts
        on features.as_of = contacts.as_of and features.contact_id = contacts.contact_id

),

account_rows as (

    select
        'account' as subject_type,
        account_id as subject_id,
        owner_id as owner,
        contract_value,
        segment,
        custom_fields,
        updated_at
    from accounts

),

-- A person's own owner before the account's; the rest is the account's.
user_rows as (

    select
        'user',
        users.user_id,
        coalesce(users.contact_owner_id, accounts.owner_id),
        accounts.contract_value,
        users.segment,
        accounts.custom_fields,
        greatest(users.updated_at, accounts.updated_at)
    from users
    left join accounts on users.account_id = accounts.account_id

)

select * from account_rows
union all
select * from user_rows
