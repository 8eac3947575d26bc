-- Jobs that died in the last hour, up to 10,000: from an index of the dead alone.
select count(*)
  from (select from jobforge.outcomes o
         where o.state = 'dead' and o.finished_at > (select jobforge.now()) - interval '1 hour' limit 10000) d
