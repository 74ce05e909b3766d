-- Nothing has matured yet: the outcomes of scores are measured by a later part.
select
    cast(null as varchar) as model_version,
    cast(null as varchar) as dimension,
    cast(null as varchar) as value,
    cast(null as bigint) as leads,
    cast(null as bigint) as won,
    cast(null as double) as close_rate,
    cast(null as double) as lift,
    cast(null as date) as from_date,
    cast(null as date) as to_date
where false
