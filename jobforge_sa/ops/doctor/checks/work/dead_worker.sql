-- A worker that has not taken leave: it was killed, or is cut off from the database. Its jobs are taken back by others.
select 'note' as level, format('worker %s', coalesce(w.name, w.worker_id::text)) as object,
       format('it was taken for alive until %s, and has not said that it stops', jobforge.moment_text(w.alive_until)) as detail,
       'look at its log and its supervisor; where it was meant to end, nothing: it is forgotten after an hour' as remedy
  from jobforge.workers w
 where w.alive_until < jobforge.now() - interval '1 minute'
 order by w.alive_until desc limit 20;
