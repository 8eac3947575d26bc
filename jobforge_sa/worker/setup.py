"""What child processes are told, made in the worker, where what cannot work is said at once."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Engine

from jobforge_sa.tasks import JobForge
from jobforge_sa.worker import blueprint, place, preflight
from jobforge_sa.worker.process import Setup


def set_up(
    forge: JobForge, sessions: Engine, make: Callable[[], Engine] | None, imports: tuple[str, ...], database: str
) -> Setup | None:
    """What they are told, if there are tasks for them.

    Args:
        forge: The registry.
        sessions: The engine of the handlers' sessions.
        make: Makes one in the child; None: it is made from the URL of the other.
        imports: Modules that come before those of the handlers.
        database: Which database it must be.

    Raises:
        ConfigurationError: a child process could not run them. What `preflight.look_at_sessions` raises.
    """
    tasks = {
        task.name: place.of(task.handler, f"the handler of the task {task.name}") for task in forge if task.process
    }
    if not tasks:
        return None
    if make is None:
        return Setup(tasks, imports, blueprint.of_engine(sessions, sealed=True))
    plan = blueprint.of_factory(make, sealed=True)
    engine = blueprint.called(make)
    try:
        preflight.look_at_sessions(engine, database, strict=forge.strict_rls)
    finally:
        engine.dispose()
    return Setup(tasks, imports, plan)
