{{ config(tags=['crm']) }}
-- Whom not to contact is asked of the newest list, whatever moment is scored: it protects people, it scores nobody.
with latest as (

    select extract_id
    from {{ ref('stg_crm__extracts') }}
    where entity = 'suppression'
    order by extract_number desc
    limit 1

),

named as (

    select held.version_id
    from latest
    inner join {{ source('raw', 'crm_extract_rows') }} as held on latest.extract_id = held.extract_id

    union all

    select version_id from {{ ref('int_crm_kept_out') }} where entity = 'suppression'

),

-- Earlier versions have stored what nobody sees in a text that was copied.
listed as (

    select
        regexp_replace(nfc_normalize(lower(suppressions.suppression_key)), '[\pZ\pC]+', '', 'g') as suppression_key,
        suppressions.reason
    from named
    inner join {{ ref('stg_crm__suppressions') }} as suppressions on named.version_id = suppressions.version_id

),

domains as (

    select host, regexp_replace(host, '^www[.]', '') as bare_host, reason
    from (
        select {{ host_of("substr(suppression_key, 8)") }} as host, reason
        from listed
        where suppression_key like 'domain:%'
    )
    where host is not null

),

-- A domain is found however it is written: as a site, with or without its www, in its own letters or in ASCII.
keys as (

    select suppression_key, reason from listed

    union all

    select 'domain:' || bare_host as suppression_key, reason from domains

    union all

    select 'domain:' || known.registrable_domain as suppression_key, domains.reason
    from domains
    inner join {{ source('raw', 'email_domains') }} as known on domains.host = known.domain
    where {{ length_of("string_split(domains.bare_host, '.')") }}
        = {{ length_of("string_split(known.registrable_domain, '.')") }}

)

select
    suppression_key,
    coalesce(min(reason), 'suppression list') as reason
from keys
group by suppression_key
