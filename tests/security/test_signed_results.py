"""Waits for results where tenancy is signed: each look brings a token of its own, and none is shown another's."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from jobforge_sa import AsyncResults, Context, Enqueued, JobForge, Jobs, Results, TenantKey, seal
from jobforge_sa.errors import JobNotFound, ResultTimeout, TenantRequired, TokenRejected
from jobforge_sa.tenant import SignedTenant
from tests.security.guard import Attack
from tests.support import wait_for

pytestmark = pytest.mark.filterwarnings("ignore::jobforge_sa.errors.TokensVisibleWarning")

KEY = TenantKey.generate("k1")
WAITS = "select tenant_id from jobforge.waits"

forge = JobForge()


@forge.task("t")
def seven(ctx: Context, payload: dict[str, int]) -> int:
    return 7


@pytest.fixture
def signed(attack: Attack) -> Attack:
    attack.sign(KEY)
    return attack


@pytest.fixture
def engine(signed: Attack) -> sa.Engine:
    engine = signed.engine("jf_app")
    seal(engine)
    return engine


@pytest.fixture
def job(engine: sa.Engine) -> Enqueued:
    with Session(engine) as session, session.begin():
        return Jobs(session, tenant=KEY.tenant("a")).enqueue(seven, {"n": 1})


class Signer:
    """A tenant that counts its tokens."""

    def __init__(self) -> None:
        self.tokens = 0
        self.tenant = SignedTenant("a", self._sign)

    def _sign(self) -> str:
        self.tokens += 1
        return KEY.token("a", lifetime=60 + self.tokens)


def wait(engine: sa.Engine, tenant: SignedTenant, job: Enqueued, kind: str) -> int:
    if kind == "sync":
        return Results(engine, tenant=tenant).wait(seven, job, timeout=20)

    async def main() -> int:
        own = create_async_engine(engine.url.set(drivername=f"postgresql+{kind}"))
        try:
            return await AsyncResults(own, tenant=tenant).wait(seven, job, timeout=20)
        finally:
            await own.dispose()

    return asyncio.run(main())


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


@pytest.mark.parametrize("kind", ["sync", "psycopg", "asyncpg"])
def test_a_wait_signs_each_of_its_looks(
    signed: Attack, engine: sa.Engine, job: Enqueued, kind: str, pool: ThreadPoolExecutor
) -> None:
    """So it may take longer than a token holds."""
    signer = Signer()
    waiting = pool.submit(wait, engine, signer.tenant, job, kind)
    wait_for(lambda: signer.tokens >= 4, what="four looks")
    assert [row["tenant_id"] for row in signed.look(WAITS)] == ["a"]
    assert signed.complete(signed.claim_one(), result=7) == "done"
    assert waiting.result(20) == 7


def test_a_wait_without_a_good_token_is_told_at_once_and_leaves_no_trace(
    signed: Attack, engine: sa.Engine, job: Enqueued
) -> None:
    with pytest.raises(TenantRequired, match="signed tenants only"):
        Results(engine, tenant="a").wait(seven, job)
    with pytest.raises(TenantRequired):
        Results(engine).wait(seven, job)
    with pytest.raises(TokenRejected):
        Results(engine, tenant=TenantKey.generate("k1").tenant("a")).wait(seven, job)
    with pytest.raises(TokenRejected):
        Results(engine, tenant=SignedTenant("a", lambda: KEY.token("a", lifetime=-1))).wait(seven, job)
    with pytest.raises(JobNotFound):
        Results(engine, tenant=KEY.tenant("b")).wait(seven, job)
    assert signed.look(WAITS) == []


def test_a_wait_that_was_not_answered_shows_no_token(signed: Attack, engine: sa.Engine, job: Enqueued) -> None:
    signer, migrator = Signer(), signed.migrator()
    migrator.execute("lock table jobforge.waits")
    with pytest.raises(ResultTimeout, match="did not answer") as caught:
        Results(engine, tenant=signer.tenant).wait(seven, job, timeout=0)
    shown = "".join(traceback.format_exception(caught.value))
    assert signer.tokens
    assert "k1." not in shown


def test_the_tasks_own_tenant_signs_as_well(signed: Attack, engine: sa.Engine) -> None:
    ours = JobForge(tenant=KEY.tenant("main"))

    @ours.task("t")
    def eight(ctx: Context, payload: dict[str, int]) -> int:
        return 8

    with Session(engine) as session, session.begin():
        job = Jobs(session).enqueue(eight, {"n": 1})
    signed.complete(signed.claim_one(), result=8)
    assert Results(engine).wait(eight, job, timeout=0) == 8
