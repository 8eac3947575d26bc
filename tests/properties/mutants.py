"""Functions of the schema with one thing wrong, for the machine to find."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.house.source import sql_functions
from tests.properties.database import Real


@dataclass(frozen=True, slots=True)
class Mutant:
    """What is wrong: in this function these words stand where those should."""

    wrong: str
    function: str
    words: str
    instead: str

    def sound(self) -> str:
        """The function as it should be."""
        return sql_functions()[self.function].read_text(encoding="utf-8")


# found within seconds, at each run of the suite
COARSE = (
    Mutant(
        "a completion needs no token",
        "complete_jobs",
        " and l.token = v.token",
        "",
    ),
    Mutant(
        "a rescue takes the runs of living workers",
        "take_back",
        "where w.alive_until > v_now",
        "where false",
    ),
    Mutant(
        "a cancel of a running job is forgotten",
        "cancel_now",
        "values (v_job.id, v_job.tenant_id, jobforge.now()) on conflict",
        "select v_job.id, v_job.tenant_id, jobforge.now() where false on conflict",
    ),
    Mutant(
        "attempts are one too many",
        "settle",
        "e.attempt >= e.max_attempts",
        "e.attempt > e.max_attempts",
    ),
)
# found within a minute or two, by `make properties`
FINE = (
    Mutant(
        "a prune does not ask how long a job was kept",
        "prune_jobs",
        "o.finished_at < v_now - case when own.kind is null then every.keep else own.keep end",
        "true",
    ),
    Mutant(
        "a completion ends another tenant's run",
        "complete_jobs",
        " and l.tenant_id = coalesce(v_tenant, l.tenant_id)",
        "",
    ),
    Mutant(
        "a repeated completion hears that it is lost",
        "complete_jobs",
        "when a.outcome = r.outcome",
        "when false",
    ),
    Mutant(
        "a rescue leaves what is past its deadline",
        "take_back",
        " or l.deadline <= v_now",
        "",
    ),
    Mutant(
        "a rescue waits for a completion",
        "take_back",
        "for update of l skip locked",
        "for update of l",
    ),
    Mutant(
        "a lost run is charged",
        "settle",
        "e.attempt else e.attempt - 1 end",
        "e.attempt else e.attempt end",
    ),
    Mutant(
        "crashes are never too many",
        "settle",
        "constant integer := 5",
        "constant integer := 1000",
    ),
    Mutant(
        "the end of a run forgets the cancel",
        "settle",
        "when e.outcome = 'canceled' or e.cancel then",
        "when e.outcome = 'canceled' then",
    ),
    Mutant(
        "a late cancel is never settled",
        "settle_cancels",
        "where not exists (select from jobforge.leases",
        "where exists (select from jobforge.leases",
    ),
    Mutant(
        "a claim waits for another's",
        "claim_ring",
        "for update skip locked) p",
        "for update) p",
    ),
    Mutant(
        "paused tenants are served",
        "budget",
        "case when l.paused_at is not null then 0",
        "case when l.paused_at is null then 0",
    ),
    Mutant(
        "a claim takes the suspects of a tenant that has other jobs",
        "claim_ring",
        " and r.lane = t.lane and r.tenant_id = t.tenant_id",
        " and r.tenant_id = t.tenant_id",
    ),
    Mutant(
        "a run that was given back clears a suspect",
        "settle",
        "('failed', 'timed_out', 'snoozed') and e.item > 0",
        "('failed', 'timed_out', 'snoozed', 'released') and e.item > 0",
    ),
    Mutant(
        "a rescue past the deadline clears a suspect",
        "settle",
        "('failed', 'timed_out', 'snoozed') and e.item > 0",
        "('failed', 'timed_out', 'snoozed')",
    ),
    Mutant(
        "crashes are not counted in a row",
        "settle",
        "('failed', 'timed_out', 'snoozed') and e.item > 0 then 0",
        "('failed', 'timed_out', 'snoozed') and e.item > 0 then e.crashes",
    ),
    Mutant(
        "a heartbeat gives away a run that the worker has",
        "heartbeat_jobs",
        " and l.token <> all (p_runs)",
        "",
    ),
    Mutant(
        "a heartbeat gives away what was claimed just now",
        "heartbeat_jobs",
        " and l.claimed_at < v_now - p_alive",
        "",
    ),
    Mutant(
        "a retry keeps a charged attempt",
        "retry_job",
        "v_job.type, v_run, 0, 0",
        "v_job.type, v_run, 1, 0",
    ),
    Mutant(
        "a reschedule forgets the attempts",
        "enter_places",
        "w.run, w.attempt, w.crashes",
        "w.run, 0, w.crashes",
    ),
    Mutant(
        "what is promoted loses its crashes",
        "promote_due",
        "run, attempt, crashes,\n                   case",
        "run, attempt, 0,\n                   case",
    ),
    Mutant(
        "a step does not hold the lease",
        "heartbeat_job",
        "       for share;",
        ";",
    ),
    Mutant(
        "a prune waits for a retry",
        "prune_jobs",
        "o.finished_at < v_now for update skip locked",
        "o.finished_at < v_now for update",
    ),
    Mutant(
        "a prune waits for an enqueue",
        "prune_jobs",
        "for update of k skip locked",
        "for update of k",
    ),
    Mutant(
        "a prune takes a job whose unique key an enqueue holds",
        "prune_jobs",
        "g not in (select t.job_id from theirs t) or g in (select f.job_id from free f)",
        "true",
    ),
    Mutant(
        "a prune takes the unique key of a younger job",
        "prune_jobs",
        "k.key = j.unique_key and k.job_id = j.id",
        "k.key = j.unique_key",
    ),
    Mutant(
        "a unique key outlives its job",
        "prune_jobs",
        "where k.tenant_id = f.tenant_id and k.type = f.type and k.key = f.key",
        "where false",
    ),
    Mutant(
        "a result outlives its job",
        "forget_jobs",
        "delete from jobforge.results r where r.job_id = any (p_jobs);",
        "",
    ),
    Mutant(
        "a late cancel outlives its job",
        "prune_jobs",
        "where c.job_id = any (v_gone) for update skip locked",
        "where false for update skip locked",
    ),
    Mutant(
        "an idempotency key leaves while its job waits",
        "prune_keys",
        "and (o.job_id is not null or not exists (select from jobforge.jobs j where j.id = k.job_id))",
        "",
    ),
    Mutant(
        "the idempotency key of a pruned job stays for ever",
        "prune_keys",
        "(o.job_id is not null or not exists (select from jobforge.jobs j where j.id = k.job_id))",
        "o.job_id is not null",
    ),
    Mutant(
        "a walk waits for another's",
        "begin_walk",
        "for update skip locked",
        "for update",
    ),
    Mutant(
        "a walk goes on behind what it has not taken",
        "prune_jobs",
        "then v_due[p_limit]",
        "then v_walk.before",
    ),
    Mutant(
        "a retry of a pruned job is refused",
        "retry_job",
        "if v_run is null and not exists (select from jobforge.jobs j where j.id = v_job.id) then",
        "if false then",
    ),
    Mutant(
        "a retry takes a unique key that another has",
        "retry_job",
        "        if found then\n            raise exception 'jobforge: another job",
        "        if false then\n            raise exception 'jobforge: another job",
    ),
)


@contextmanager
def living(real: Real, mutant: Mutant) -> Iterator[None]:
    """The database with this function in place of ours."""
    sound = mutant.sound()
    assert mutant.words in sound, f"{mutant.function} does not say this any more: {mutant.words}"
    real.run(sound.replace(mutant.words, mutant.instead))
    try:
        yield
    finally:
        real.clean()
        real.run(sound)
