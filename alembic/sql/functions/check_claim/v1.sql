-- Refuses a claim that could not work, with the cure.
create or replace function jobforge.check_claim(
    p_worker_id uuid, p_queues text[], p_types text[], p_limit integer, p_alive interval
) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_fault text := case
        when p_worker_id is null then 'p_worker_id must be a uuid of the worker''s own'
        when p_queues is null or p_types is null or num_nulls(variadic p_queues) + num_nulls(variadic p_types) > 0
            then 'p_queues and p_types must be arrays without NULL'
        when p_limit is null or p_limit not between 1 and 10000 then 'p_limit must be between 1 and 10000'
        when p_alive is null or not jobforge.check_interval(p_alive, interval '1 second', interval '1 day')
            then 'p_alive must be between 1 second and 1 day'
    end;
begin
    if v_fault is not null then
        raise exception 'jobforge: %', v_fault using errcode = 'JF003', hint = 'Change that argument; nothing was claimed.';
    end if;
    perform jobforge.require_read_committed();
end
$$;

comment on function jobforge.check_claim is 'Raises JF003 or JF005 for a claim that could not work.';
