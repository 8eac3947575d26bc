"""Two tenants that Postgres keeps apart, even from whoever can run SQL as the application: signed tenancy."""

import secrets

from pydantic import BaseModel
from sqlalchemy import create_engine, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from jobforge_sa import Context, JobForge, Jobs, TenantKey, Worker, bind_tenant, seal
from jobforge_sa.db import migrate
from jobforge_sa.testing.server import provide

forge, password = JobForge(), secrets.token_hex()
key = TenantKey.generate(f"example-{secrets.token_hex(4)}")  # in production: TenantKey.from_environment()
setup = f"""
drop table if exists notes; drop role if exists example_app;
create role example_app login password '{password}' in role jobforge_app, jobforge_worker;
create table notes (tenant text not null default jobforge.current_tenant(), note text not null);
alter table notes enable row level security, force row level security;
create policy own on notes to example_app using (tenant = (select jobforge.current_tenant()));
grant select, insert on notes to example_app; set local role jobforge_owner"""


class Nothing(BaseModel): ...


@forge.task()
def read(ctx: Context, _: Nothing) -> None:
    print(f"a job of {ctx.job.tenant_id} reads", ctx.session.scalars(text("select note from notes")).all())


with provide(("JOBFORGE_EXAMPLES_URL",)) as url:
    migrate.upgrade(owner := create_engine(url))
    with owner.begin() as admin:  # once, by whoever migrates
        admin.exec_driver_sql(setup)
        admin.execute(select(func.jobforge.add_tenant_key(key.id, key.secret), func.jobforge.use_tenancy("signed")))
    seal(engine := create_engine(owner.url.set(username="example_app", password=password)))
    for tenant in ("acme", "globex"):
        with Session(engine) as session, session.begin():
            bind_tenant(session, key.tenant(tenant))  # of the user who has logged in
            session.execute(text("insert into notes (note) values (:note)"), {"note": f"a secret of {tenant}"})
            Jobs(session).enqueue(read, Nothing())
        with Worker(engine, forge) as worker:
            worker.drain(timeout=10)
    for setting, value in (("tenant_id", "globex"), ("tenant_token", f"{key.id}.1999999999.{64 * 'f'}.globex")):
        with Session(engine) as session:
            bind_tenant(session, key.tenant("acme"))
            session.execute(text(f"select set_config('jobforge.{setting}', '{value}', true)"))  # by SQL injection
            try:
                print("a way through:", session.scalars(text("select note from notes")).all())
            except DBAPIError as error:
                print(str(error.orig).splitlines()[0])

# Output:
# a job of acme reads ['a secret of acme']
# a job of globex reads ['a secret of globex']
# jobforge: the setting jobforge.tenant_id and the tenant token name different tenants
# jobforge: the tenant token is not valid
