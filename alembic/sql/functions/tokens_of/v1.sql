-- How many runs may begin now by a rate: what the bucket held, and what has come in since, up to its size.
create or replace function jobforge.tokens_of(p_limit jobforge.limits) returns double precision
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
    select least(coalesce(p_limit.burst, greatest(ceil(p_limit.rate), 1)),
                 p_limit.bucket + p_limit.rate * extract(epoch from jobforge.now() - p_limit.refilled_at)::double precision)
$$;

comment on function jobforge.tokens_of is 'How many runs a rate lets begin now.';
