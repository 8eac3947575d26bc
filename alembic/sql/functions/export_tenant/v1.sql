-- Everything that is kept of a tenant's jobs, oldest first, in pages: one JSON object for each job, with its state, its
-- result, its attempts and its deliveries of webhooks; lease tokens are in none. A job of more than 1,000 attempts goes on in further objects, for
-- one text may have 1 GB at most. Pass the last job_id of a page as the next p_cursor.
create or replace function jobforge.export_tenant(
    p_tenant_id text, p_cursor uuid default null, p_limit integer default 1000
) returns table (job_id uuid, record text)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off  -- everything is met by key
set jit = off
as $$
#variable_conflict use_column
begin
    perform jobforge.check_tenant(p_tenant_id);
    return query
        select a.id,
               case when coalesce(runs.part, 0) = 0 then json_build_object(
                        'job', a, 'attempts', coalesce(runs.attempts, '[]'),
                        'cancel_requested_at', (select c.requested_at from jobforge.cancel_requests c
                                                 where c.job_id = a.id and c.tenant_id = p_tenant_id),
                        'deliveries', (select coalesce(json_agg(d order by d.run), '[]') from jobforge.webhook_deliveries d
                                        where d.job_id = a.id and d.tenant_id = p_tenant_id))
                    else json_build_object('job_id', a.id, 'attempts', runs.attempts)
               end::text
          from (select j.id from jobforge.jobs j
                 where j.tenant_id = p_tenant_id and (p_cursor is null or j.id > p_cursor)
                 order by j.id limit p_limit) page
         cross join lateral (  -- limit: as in list_jobs
               select * from jobforge.all_jobs one where one.id = page.id and one.tenant_id = p_tenant_id limit 1) a
          left join lateral (
               select numbered.part, json_agg(numbered.t order by numbered.run) as attempts
                 from (select t, t.run, (row_number() over (order by t.run) - 1) / 1000 as part
                         from jobforge.all_attempts t where t.job_id = a.id and t.tenant_id = p_tenant_id) numbered
                group by numbered.part) runs on true
         order by a.id, runs.part;
end
$$;

grant execute on function jobforge.export_tenant to jobforge_admin;
comment on function jobforge.export_tenant is 'Everything of a tenant''s jobs, as JSON objects.';
