-- Of these tenants, in this order, those that may give a claim jobs, and how many each: by their weights, up to their budgets,
-- p_left in all. last: the last one that had its share, if not all had. stopped: those that give none until somebody says
-- otherwise; limited: those of whom anything was said. p_others: so many more may stand behind them. places: where they were among p_tenants.
create or replace function jobforge.shares(
    p_tenants text[], p_left integer, p_others integer, out tenants text[], out shares integer[], out last text, out stopped text[],
    out limited text[], out places integer[]
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    with given as materialized (  -- grouped and not joined: neither side has an index
        select t.tenant_id, min(t.place) as place, min(t.budget) as budget, coalesce(max(t.weight), 1) as weight,
               bool_or(t.stopped) as stopped, count(t.stopped) > 0 as limited
          from (select u.tenant_id, u.place, null as budget, null as weight, null as stopped
                  from unnest(p_tenants) with ordinality u (tenant_id, place)
                union all
                select b.name, null, b.budget, b.weight, b.stopped from jobforge.budget('tenant', p_tenants) b) t
         group by t.tenant_id
    ), share as (
        select g.tenant_id, g.place,
               least(g.weight * greatest(p_left / (sum(g.weight) over () + p_others), 1), g.budget)::integer as share
          from given g where g.budget is distinct from 0
    ), placed as (
        select s.*, sum(s.share) over (order by s.place) - s.share as before from share s
    ), turned as (  -- who is last and has a part of its share only comes again, by chance, so often that it has all of it: it
        -- goes before the others, and the ring goes on behind the one that is last now
        select p.tenant_id, p.share, p.before,
               p.place as was,
               case when p.before between 1 and p_left - 1 and random() > (p_left - p.before)::float8 / least(p.share, p_left)
                    then 0 else p.place end as place
          from placed p
    )
    select array_agg(p.tenant_id order by p.place) filter (where p.before < p_left),
           array_agg(least(p.share, p_left - p.before)::integer order by p.place) filter (where p.before < p_left),
           case when bool_or(p.before >= p_left or p.place = 0) then
               (array_agg(p.tenant_id order by p.place desc) filter (where p.before < p_left))[1] end,
           (select array_agg(g.tenant_id) from given g where g.stopped),
           (select coalesce(array_agg(g.tenant_id), '{}') from given g where g.limited),
           array_agg(p.was::integer order by p.place) filter (where p.before < p_left)
      into tenants, shares, last, stopped, limited, places
      from turned p;
end
$$;

comment on function jobforge.shares is 'How many jobs each tenant may give a claim.';
