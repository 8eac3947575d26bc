-- The items of complete_jobs, read as texts and judged before anything is cast, so that one bad item cannot raise
-- and harm the others. fault is NULL for a good one.
create or replace function jobforge.parse_results(p_results json) returns table (
    item integer, job_id uuid, token uuid, outcome text, result json, error json, delay interval, run_ms integer,
    final boolean, fault text
)
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    c_uuid   constant text := '^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$';
    c_number constant text := '^[0-9]{1,9}([.][0-9]{1,9})?$';
begin
    return query
    with body as materialized (
        select e.item, e.body, json_typeof(e.body) = 'object' as object,
               position(chr(92) || 'u' in e.body::text) = 0 or jobforge.is_storable(e.body) as storable
          from json_array_elements(p_results) with ordinality as e (body, item)
    ), entry as (
        select b.item, r.*,
               case when not b.object then 'not an object'
                    when not b.storable then 'contains \u0000 or half of a surrogate pair'
                    when r.job_id is null or r.job_id !~ c_uuid then 'job_id is not a uuid'
                    when r.lease_token is null or r.lease_token !~ c_uuid then 'lease_token is not a uuid'
                    when r.outcome is null or r.outcome not in
                         ('succeeded', 'failed', 'timed_out', 'snoozed', 'released', 'canceled') then 'unknown outcome'
                    when r.delay !~ c_number then 'delay is not a number of seconds between 0 and 999999999'
                    when r.run_ms !~ '^[0-9]{1,9}$' then 'run_ms is not a whole number of milliseconds'
                    when octet_length(r.result::text) > 262144 then 'the result has more than 262144 bytes'
                    when octet_length(r.error::text) > 65536 then 'the error has more than 65536 bytes'
               end as fault
          from body b
         cross join lateral json_to_record(case when b.object and b.storable then b.body else '{}' end)
               as r (job_id text, lease_token text, outcome text, result json, error json, delay text, run_ms text, final text)
    )
    select e.item::integer,
           case when e.job_id ~ c_uuid then e.job_id::uuid end,
           case when e.fault is null then e.lease_token::uuid end,
           e.outcome, e.result, e.error,
           case when e.fault is null then e.delay::float8 * interval '1 second' end,
           case when e.fault is null then e.run_ms::integer end,
           coalesce(e.final = 'true', false), e.fault
      from entry e;
end
$$;

comment on function jobforge.parse_results(json) is 'The items of complete_jobs, with the fault of each bad one.';
