-- Takes what a claim has given out of the bucket, which it has locked (budget).
create or replace function jobforge.spend(p_scope text, p_name text, p_taken integer) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    update jobforge.limits l set bucket = jobforge.tokens_of(l) - p_taken, refilled_at = jobforge.now()
     where l.scope = p_scope and l.name = p_name and l.rate is not null and p_taken > 0;
end
$$;

comment on function jobforge.spend is 'Take the runs that have begun out of a rate''s bucket.';
