-- The next p_count tenants on the ring of some lanes in which there are heads: behind p_after, around the ring's end; with p_again
-- it begins at p_after itself. And where to begin, in each lane and priority of each: names, lanes, priorities and jobs are
-- arrays of one length, places says which of the tenants it is. Nobody's deleted jobs are passed: from a head to the next one
-- is one look. Where somebody was met and then 20 heads with nothing behind them the page is cut: it ends at last.
create or replace function jobforge.ring_of(
    p_queue text, p_lanes text[], p_after text, p_again boolean, p_count integer,
    out tenants text[], out met integer, out last text, out wrapped boolean, out cut boolean,
    out places integer[], out names text[], out lanes text[], out priorities smallint[], out jobs uuid[]
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_stop    text;
    v_wrapped boolean;
    c_least   constant smallint := -32768;
    c_first   constant uuid := '00000000-0000-0000-0000-000000000000';
    c_last    constant uuid := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
    -- behind all names
    c_end     constant text := case when getdatabaseencoding() = 'UTF8' then chr(1114111) else repeat(chr(255), 9) end;
begin
    with recursive walk as (  -- what is looked for stands at the low place or behind, and before the next head
        select l.lane, p_after collate "C" as low_t, s.priority as low_p, case when p_again then c_first else c_last end as low_j,
               coalesce(h.tenant_id, c_end) collate "C" as head_t, coalesce(h.priority, 0::smallint) as head_p, h.job_id as head_j,
               null::text collate "C" as tenant_id, null::smallint as priority, null::uuid as job_id,
               null::text collate "C" as seen, 0 as met, 0 as idle, false as wrapped, false as ended
          from unnest(p_lanes) l (lane)
         cross join (select case when p_again then c_least else 32767::smallint end as priority) s
          left join lateral (
               select h.tenant_id, h.priority, h.job_id from jobforge.heads h
                where h.queue = p_queue and h.lane = l.lane and (h.tenant_id, h.priority) > (p_after, s.priority)
                order by h.tenant_id, h.priority, h.marked_at desc limit 1) h on true
        union all
        select w.lane, x.tenant_id, x.priority, x.job_id,
               case when f.job_id is null then coalesce(n.tenant_id, c_end) else w.head_t end collate "C",
               case when f.job_id is null then coalesce(n.priority, 0::smallint) else w.head_p end,
               case when f.job_id is null then n.job_id else w.head_j end,
               f.tenant_id, f.priority, f.job_id, coalesce(f.tenant_id, w.seen) collate "C",
               w.met + coalesce(f.tenant_id <> coalesce(w.seen, ''), false)::integer, case when f.job_id is null then w.idle + 1 else 0 end,
               w.wrapped or (f.job_id is null and w.head_j is null),
               w.wrapped and (x.tenant_id > p_after collate "C" or (f.job_id is null and w.head_j is null)
                              or (p_again and f.tenant_id = p_after))
          from walk w
          left join lateral (  -- in two: before Postgres 18 a comparison of rows does not end a scan where the second column decides
               select * from (
                   (select r.tenant_id, r.priority, r.job_id from jobforge.ready r
                     where r.queue = p_queue and r.lane = w.lane and r.tenant_id < w.head_t
                       and (r.tenant_id, r.priority, r.job_id) >= (w.low_t, w.low_p, w.low_j)
                     order by r.tenant_id, r.priority, r.job_id limit 1)
                   union all
                   (select r.tenant_id, r.priority, r.job_id from jobforge.ready r
                     where r.queue = p_queue and r.lane = w.lane and r.tenant_id = w.head_t and r.priority < w.head_p
                       and (r.priority, r.job_id) >= (case when w.low_t = w.head_t then w.low_p else c_least end,
                                                      case when w.low_t = w.head_t then w.low_j else c_first end)
                     order by r.priority, r.job_id limit 1)) u limit 1) f on true
         cross join lateral (select case when f.job_id is not null then f.tenant_id when w.head_j is not null then w.head_t else '' end collate "C",
                                    case when f.job_id is not null then f.priority when w.head_j is not null then w.head_p else c_least end,
                                    case when f.job_id is not null then c_last when w.head_j is not null then w.head_j else c_first end) x (tenant_id, priority, job_id)
          left join lateral (
               select h.tenant_id, h.priority, h.job_id from jobforge.heads h
                where f.job_id is null and h.queue = p_queue and h.lane = w.lane and (h.tenant_id, h.priority) > (x.tenant_id, x.priority)
                order by h.tenant_id, h.priority, h.marked_at desc limit 1) n on true
         where not w.ended and w.met <= p_count and not (w.met > 0 and w.idle > 20)
    ), stop as materialized (
        select w.wrapped, w.low_t from walk w where not w.ended and w.met between 1 and p_count and w.idle > 20
         order by w.wrapped, w.low_t limit 1
    ), found as materialized (
        select w.*, dense_rank() over (order by w.wrapped, w.tenant_id) as place from walk w
         where w.job_id is not null and not w.ended
           and not exists (select from stop s where (s.wrapped, s.low_t) < (w.wrapped, w.tenant_id))
    ), here as materialized (
        select f.* from found f where f.place <= p_count
    )
    select (select array_agg(t.tenant_id order by t.place) from (select distinct h.place, h.tenant_id from here h) t),
           coalesce(max(h.place), 0), (array_agg(h.tenant_id order by h.place desc))[1], coalesce(bool_or(h.wrapped), false),
           array_agg(h.place order by h.place, h.lane), array_agg(h.tenant_id order by h.place, h.lane),
           array_agg(h.lane order by h.place, h.lane), array_agg(h.priority order by h.place, h.lane),
           array_agg(h.job_id order by h.place, h.lane),
           (select s.low_t from stop s), (select s.wrapped from stop s)
      into tenants, met, last, wrapped, places, names, lanes, priorities, jobs, v_stop, v_wrapped
      from here h;
    cut := met < p_count and v_stop is not null;
    last := case when cut then v_stop else last end;
    wrapped := case when cut then v_wrapped else wrapped or met < p_count end;
end
$$;

comment on function jobforge.ring_of is 'The next tenants on a ring, by the heads.';
