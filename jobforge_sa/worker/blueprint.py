"""An engine as another process can build it again."""

from __future__ import annotations

import pickle
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import URL, Engine, NullPool, create_engine, event

from jobforge_sa.db import pooler
from jobforge_sa.db.seal import is_sealed, seal
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.worker import place

CURE = "pass Worker(..., process_engine=make_engine): a function at the top level of a module that makes the engine"
# what can make a connection another one, such as that of another role; not who only watches its statements
_DECISIVE = {
    "pool": ("connect", "first_connect", "checkout"),
    "dialect": ("do_connect",),
    "engine": ("engine_connect", "begin"),
}


@dataclass(frozen=True, slots=True)
class Blueprint:
    """What an engine is made from: a URL and the rest, or a function that makes it."""

    url: URL | None = None
    arguments: dict[str, Any] = field(default_factory=dict, repr=False)  # `connect_args`: there may be secrets in it
    options: dict[str, Any] = field(default_factory=dict)
    sealed: bool = False
    factory: str = ""  # its place

    def build(self) -> Engine:
        """Make the engine. One handler at a time will use it."""
        if self.url is None:
            engine = called(place.find(self.factory))
        else:
            pool: dict[str, Any] = {"pool_size": 1, "pool_pre_ping": True} if "poolclass" not in self.options else {}
            engine = create_engine(self.url, connect_args=self.arguments, **pool, **self.options)
            pooler.tame(engine)
        if self.sealed:
            seal(engine)
        return engine


def of_factory(make: Callable[[], Engine], *, sealed: bool) -> Blueprint:
    """The blueprint of what a function makes.

    Raises:
        ConfigurationError: another process does not find it.
    """
    return Blueprint(factory=place.of(make, "process_engine"), sealed=sealed)


def called(make: Callable[[], Engine]) -> Engine:
    """What the function makes.

    Raises:
        ConfigurationError: it is no engine.
    """
    engine: Any = make()
    if not isinstance(engine, Engine) or engine.dialect.is_async:
        raise ConfigurationError(f"process_engine made {type(engine).__name__}", cure="return create_engine(...)")
    return engine


def of_engine(engine: Engine, *, sealed: bool) -> Blueprint:
    """The blueprint of an engine that `create_engine` made from a URL. Its pool is not in it.

    Raises:
        ConfigurationError: it is more than its URL and its arguments.
    """
    options = {"execution_options": dict(engine.get_execution_options()), "hide_parameters": engine.hide_parameters}
    private: Any = engine.dialect  # no other place tells
    for option, attribute in (
        ("isolation_level", "_on_connect_isolation_level"),
        ("json_serializer", "_json_serializer"),
        ("json_deserializer", "_json_deserializer"),
    ):
        if (value := getattr(private, attribute, None)) is not None:
            options[option] = value
    if isinstance(engine.pool, NullPool):
        options["poolclass"] = NullPool
    found = Blueprint(engine.url, _arguments(engine), options, sealed or is_sealed_by_us(engine))
    try:
        pickle.dumps(found)
    except Exception as error:  # whatever the pickling of an application's objects raises
        raise ConfigurationError(
            f"the engine's arguments cannot be sent to a child process: {error}", cure=CURE
        ) from error
    if missing := _listeners(engine) - _listeners(found.build()):
        raise ConfigurationError(
            f"the engine has listeners ({', '.join(missing)}), and a child process would connect without them",
            cure=CURE,
        )
    return found


def is_sealed_by_us(engine: Engine) -> bool:
    """Whether `seal` was called with it; an engine without a pool is not, and needs it not."""
    return is_sealed(engine) and not isinstance(engine.pool, NullPool)


def _listeners(engine: Engine) -> Counter[str]:
    """The listeners of this very engine but for ours, by name. Those of all engines come with the application's import.

    SQLAlchemy has some of its own, and wraps some of the application's in what looks like them: so they are counted.
    """
    owners: dict[str, Any] = {"pool": engine.pool, "dialect": engine.dialect, "engine": engine}
    found: Counter[str] = Counter()
    for owner, events in _DECISIVE.items():
        for name in events:
            for listener in getattr(getattr(owners[owner].dispatch, name), "listeners", ()):
                module = getattr(listener, "__module__", None) or ""
                if not module.startswith("jobforge_sa."):
                    found[f"{name}: {module}.{getattr(listener, '__qualname__', listener)}"] += 1
    return found


class _Caught(Exception):
    """Instead of connecting."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        super().__init__("not connected")
        self.parameters = parameters


_catching = threading.local()


def _catch(_dialect: object, _record: object, _arguments: object, parameters: dict[str, Any]) -> None:
    if getattr(_catching, "on", False):
        raise _Caught(dict(parameters))


def _arguments(engine: Engine) -> dict[str, Any]:
    """What `connect_args` was: what an engine connects with beyond its URL. It is asked, and does not connect."""
    if not event.contains(engine, "do_connect", _catch):  # it stays: who connects meanwhile would miss it
        event.listen(engine, "do_connect", _catch)
    pool, _catching.on = engine.pool.recreate(), True
    try:
        connection = pool.connect()
    except _Caught as caught:
        _, said = engine.dialect.create_connect_args(engine.url)
        return {key: value for key, value in caught.parameters.items() if key not in said or said[key] != value}
    finally:
        _catching.on = False
    connection.close()
    pool.dispose()
    raise ConfigurationError("the engine connects through a creator of its own, which no other process has", cure=CURE)
