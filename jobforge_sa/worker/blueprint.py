"""An engine as another process can build it again."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, NullPool, create_engine, event

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
    """What an engine is made from: a URL and the rest, or a function that makes it. All of it plain enough for JSON."""

    url: str = field(default="", repr=False)  # with its password
    arguments: dict[str, Any] = field(default_factory=dict, repr=False)  # `connect_args`: there may be secrets in it
    options: dict[str, Any] = field(default_factory=dict)
    functions: dict[str, str] = field(default_factory=dict)  # options that are functions, by their places
    pooled: bool = True
    sealed: bool = False
    factory: str = ""  # its place

    def build(self) -> Engine:
        """Make the engine. One handler at a time will use it."""
        if self.factory:
            engine = called(place.find(self.factory))
        else:
            pool: dict[str, Any] = {"pool_size": 1, "pool_pre_ping": True} if self.pooled else {"poolclass": NullPool}
            functions = {option: place.find(where) for option, where in self.functions.items()}
            engine = create_engine(self.url, connect_args=self.arguments, **pool, **self.options, **functions)
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
    private: Any = engine.dialect  # no other place tells
    options: dict[str, Any] = {"hide_parameters": engine.hide_parameters}
    if isolation := getattr(private, "_on_connect_isolation_level", None):
        options["isolation_level"] = isolation
    if executing := dict(engine.get_execution_options()):
        options["execution_options"] = executing
    serializers = {name: getattr(private, f"_{name}", None) for name in ("json_serializer", "json_deserializer")}
    found = Blueprint(
        engine.url.render_as_string(hide_password=False),
        _plain(_arguments(engine), "connect_args"),
        _plain(options, "options"),
        {name: place.of(made, f"the engine's {name}") for name, made in serializers.items() if made is not None},
        pooled=not isinstance(engine.pool, NullPool),
        sealed=sealed or is_sealed_by_us(engine),
    )
    if missing := _listeners(engine) - _listeners(found.build()):
        raise ConfigurationError(
            f"the engine has listeners ({', '.join(missing)}), and a child process would connect without them",
            cure=CURE,
        )
    return found


def _plain(values: dict[str, Any], what: str) -> dict[str, Any]:
    for name, value in values.items():
        try:
            same = json.loads(json.dumps(value)) == value
        except (TypeError, ValueError):
            same = False
        if not same:
            raise ConfigurationError(
                f"the engine's {what} have {name!r}, a {type(value).__name__} that cannot be sent to a child process",
                cure=CURE,
            )
    return values


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
