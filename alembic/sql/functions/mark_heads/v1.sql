-- Remembers where the jobs of tenants begin, those in front of which a claim has passed many deleted ones. p_all: it has looked
-- from the very beginning, so a head goes back to a job that stands before it as well. One session at a time for a queue: the
-- others claim on, and nobody waits.
create or replace function jobforge.mark_heads(p_queue text, p_lanes text[], p_tenants text[], p_all boolean) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now  timestamptz := jobforge.now();
    v_seen record;
    v_head jobforge.heads;
    v_old  jobforge.heads;
    v_priority smallint;
    v_job  uuid;
    v_read bigint;
    v_marks integer;
    c_heads constant integer := 500;
    c_none constant uuid := '00000000-0000-0000-0000-000000000000';
begin
    if not pg_try_advisory_xact_lock(hashtext('jobforge.heads'), hashtext(p_queue)) then
        return;
    end if;
    for v_seen in
        select l.lane, t.tenant_id from unnest(p_lanes) l (lane) cross join unnest(p_tenants) t (tenant_id)
        union
        select h.lane, h.tenant_id from jobforge.heads h where p_all and h.queue = p_queue and h.lane = any (p_lanes)
    loop
        continue when v_seen.lane in ('!turn', '!suspect');
        select * into v_head from jobforge.heads h
         where h.queue = p_queue and h.lane = v_seen.lane and h.tenant_id = v_seen.tenant_id;
        v_priority := case when p_all then -32768 else coalesce(v_head.priority, -32768) end;
        v_job := case when p_all then c_none else coalesce(v_head.job_id, c_none) end;
        v_read := jobforge.pages_read();
        v_old := v_head;
        v_marks := coalesce(v_head.marks, 0);
        select p_queue, v_seen.lane, v_seen.tenant_id, r.priority, r.job_id, v_now, v_marks + 1 into v_head
          from jobforge.ready r
         where r.queue = p_queue and r.lane = v_seen.lane and r.tenant_id = v_seen.tenant_id
           and (r.priority, r.job_id) >= (v_priority, v_job)
         order by r.priority, r.job_id limit 1;
        -- each mark leaves an old row of its own behind, which stays as long as the jobs do: so the more, the rarer
        continue when jobforge.pages_read() - v_read < greatest(50, v_marks / 2)
                  and not coalesce((v_head.priority, v_head.job_id) < (v_old.priority, v_old.job_id), false);
        -- where so many tenants have a head, finding the next of them costs what is saved
        continue when v_old.job_id is null
                  and (select count(*) from (select from jobforge.heads h where h.queue = p_queue limit c_heads) h) = c_heads;
        if v_head.job_id is null then  -- nothing is left: what comes will be newer
            v_head := row(p_queue, v_seen.lane, v_seen.tenant_id, 0, jobforge.new_job_id(v_now), v_now, v_marks + 1);
        end if;
        insert into jobforge.heads select v_head.*
        on conflict (queue, lane, tenant_id) do update
           set priority = excluded.priority, job_id = excluded.job_id, marked_at = excluded.marked_at,
               marks = excluded.marks
         where (heads.priority, heads.job_id) <> (excluded.priority, excluded.job_id);
    end loop;
end
$$;

comment on function jobforge.mark_heads is 'Remember where the jobs of tenants begin.';
