-- A random place on the ring of a queue's lane, for a claim without a cursor. Tenants are often "tenant-17", so a plain
-- random text would always begin at the first of them. Instead it goes down the tree of their names: what the first and
-- the last have in common, then a random character between theirs, and again among those that begin like that.
create or replace function jobforge.ring_start(p_queue text, p_lane text, p_heads boolean default false) returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
    v_after  text collate "C" := '';
    v_before text collate "C" := case when getdatabaseencoding() = 'UTF8' then chr(1114111) else repeat('~', 9) end;
    v_first  text collate "C";
    v_last   text collate "C";
    v_same   integer;
    v_low    integer;
    v_high   integer;
begin
    if p_heads then  -- the deleted jobs of the first and the last would be passed: one of the tenants with a head will do
        v_after := (select h.tenant_id from jobforge.heads h where h.queue = p_queue and h.lane = p_lane order by random() limit 1);
        if v_after is not null then
            return v_after;
        end if;
        v_after := '';
    end if;
    for i in 1 .. 8 loop
        select r.tenant_id into v_first from jobforge.ready r
         where r.queue = p_queue and r.lane = p_lane and r.tenant_id > v_after and r.tenant_id < v_before
         order by r.tenant_id limit 1;
        select r.tenant_id into v_last from jobforge.ready r
         where r.queue = p_queue and r.lane = p_lane and r.tenant_id > v_after and r.tenant_id < v_before
         order by r.tenant_id desc limit 1;
        exit when v_first is null or v_first = v_last;
        v_same := 0;
        while v_same < length(v_first) and left(v_first, v_same + 1) = left(v_last, v_same + 1) loop
            v_same := v_same + 1;
        end loop;
        v_low := greatest(ascii(substr(v_first, v_same + 1, 1)), 32);
        v_high := ascii(substr(v_last, v_same + 1, 1));
        exit when v_high < v_low or v_high > 126;  -- beyond lie gaps that no character may stand in
        v_low := v_low + floor(random() * (v_high - v_low + 1))::integer;
        v_after := left(v_first, v_same) || chr(v_low);
        v_before := left(v_first, v_same) || chr(v_low + 1);
    end loop;
    return v_after;
end
$$;

comment on function jobforge.ring_start(text, text, boolean) is 'A random place on a queue''s ring of tenants.';
