"""Tasks: a name, a payload type, a handler and its defaults; and the registry that holds them."""

from __future__ import annotations

import datetime as dt
import inspect
import json
import re
import types
import typing
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, NoReturn, Protocol, TypedDict, TypeVar, Unpack, overload

import pydantic

from jobforge_sa.context import AsyncContext, Context
from jobforge_sa.errors import ConfigurationError, InvalidJob, InvalidPayload
from jobforge_sa.tenant import Tenant, is_key
from jobforge_sa.types import OnDuplicate, Outcome, RetryPolicy

P = TypeVar("P")
R = TypeVar("R")

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}")
QUEUE = "default"  # of a task that names none
MAX_PAYLOAD_BYTES = 262_144
# an escaped NUL, but not an escaped backslash that happens to stand before "u0000"
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class TaskOptions(TypedDict, total=False):
    """What a task may say of all its jobs. Left out: the database's default."""

    queue: str  # default "default"
    priority: int  # -100 (first) to 100 (last) within the tenant; default 0
    max_attempts: int  # 1 to 1000; default 5
    retry: RetryPolicy | None  # default Exponential()
    timeout: dt.timedelta | None  # default: one hour
    # at most one such job of its tenant and type is active: 1 to 200 characters, or a function of the payload
    unique_key: str | Callable[[Any], str] | None
    # while there is one: "keep" it, as it is; "replace" the payload of one that waits, or "merge" with it. For the last
    # two a running one does not count. Default "keep"; "merge" where the task has a merge
    on_duplicate: OnDuplicate | None
    debounce: dt.timedelta | None  # run once in so long, with the last payload: a delay, and "replace"
    # such jobs of a tenant run one at a time, as they were enqueued: 1 to 200 characters, or a function of the payload
    # that gives None where one has no order
    ordering_key: str | Callable[[Any], str | None] | None


OPTIONS = frozenset(TaskOptions.__optional_keys__)


class JobOptions(TaskOptions, total=False):
    """What an enqueue may say of one job, over its task's options."""

    run_at: dt.datetime  # aware; or
    delay: dt.timedelta  # from the database's now
    idempotency_key: str | None  # 1 to 200 characters: the same tenant, type and key is one job
    subject: object  # the row that it is about: a mapped instance, or text such as "orders:42"


class Task(Generic[P, R]):
    """A kind of job. Made by `JobForge.task`; calling it calls the handler, as a test would."""

    def __init__(
        self, forge: JobForge, name: str, handler: Callable[..., Any], payload_type: Any, options: TaskOptions,
        process: bool = False, merge: Callable[[Any, Any], Any] | None = None,
    ) -> None:  # fmt: skip
        self.forge = forge
        self.name = name
        self.handler = handler
        self.options = options
        self.resolved: dict[str, Any] | None = (
            None  # the same as arguments, when the first job without its own has come
        )
        self.process = process  # its handler runs in a child process of the worker
        self.merge = merge  # of the payloads of a waiting job and of one that would be its duplicate
        self.is_async = inspect.iscoroutinefunction(handler)
        self._adapter: pydantic.TypeAdapter[P] = _adapter(name, payload_type)
        self._result_adapter: pydantic.TypeAdapter[Any] | None = None  # made when the first result is read

    def __call__(self, ctx: Any, payload: P) -> R:
        """Call the handler."""
        return typing.cast(R, self.handler(ctx, payload))

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    @property
    def queue(self) -> str:
        """The queue of its jobs, unless an enqueue names another."""
        return self.options.get("queue", QUEUE)

    def new(self, payload: P | Callable[[], P], **options: Unpack[JobOptions]) -> NewJob:
        """A job to be enqueued with `Jobs.enqueue_many`. Nothing is checked or stored yet."""
        return NewJob(self, payload, options)

    def dump(self, payload: object) -> str:
        """The payload as JSON text.

        Raises:
            InvalidPayload: it is not what the task takes, or JSON and Postgres cannot hold it.
        """
        try:
            # by the adapter's parts: its own methods, with an argument for everything, take as long as the work
            given = self._adapter.validator.validate_python(payload)
            sent = self._adapter.serializer.to_json(given, by_alias=True, round_trip=True, warnings=False)
            text = sent.decode()
            is_object = text.startswith("{")
            if "Infinity" in text or "NaN" in text:  # by a model's ser_json_inf_nan="constants", they are no strings
                json.loads(text, parse_constant=_refuse_constant)
            same = not is_object or self._same(given, self.load(text))
        except (ValueError, TypeError, RecursionError) as error:  # pydantic's are ValueErrors, as is NaN
            why = faults(error) if isinstance(error, pydantic.ValidationError) else str(error)
            self._refuse(why or type(error).__name__, error)
        if not is_object:
            self._refuse(f"it must be a JSON object, this is {type(json.loads(text)).__name__}")
        if not same:
            self._refuse("as JSON it loses something: a secret shown as stars, a NaN, a field that is left out")
        if len(sent) > MAX_PAYLOAD_BYTES:
            self._refuse(f"it has {len(sent)} bytes, {MAX_PAYLOAD_BYTES} are allowed")
        if "\\u0000" in text and _NUL.search(text):
            self._refuse("it contains a NUL character, which Postgres cannot store")
        return text

    def load(self, text: str) -> P:
        """The payload from JSON text.

        Raises:
            pydantic.ValidationError: the text is not what the task takes (any more).
        """
        payload: P = self._adapter.validator.validate_json(text)  # the adapter's own way there costs 0.5 µs more
        return payload

    def payload_schema(self, *, stored: bool = False) -> dict[str, Any] | None:
        """The JSON schema of what the task takes; None where there is none, as for types of the application's own.

        Args:
            stored: Of what `dump` makes of it instead: a field may have another alias there.
        """
        try:
            return self._adapter.json_schema(mode="serialization" if stored else "validation")
        except pydantic.errors.PydanticUserError:
            return None

    def load_result(self, text: str | None) -> R:
        """What the handler returned, from the JSON text that was kept of it.

        Raises:
            pydantic.ValidationError: it is not what the handler's annotation says (any more).
        """
        if self._result_adapter is None:
            self._result_adapter = _result_adapter(self.handler)
        return typing.cast(R, self._result_adapter.validate_json(text or "null"))

    def _same(self, given: P, read: P) -> bool:
        """Whether the handler will get what was given. Equal nearly always; else the plain values decide."""
        if isinstance(given, pydantic.BaseModel) and isinstance(read, pydantic.BaseModel):
            # its == looks at private attributes, too, which are never sent, in six times the time
            if given.__dict__ == read.__dict__ and given.__pydantic_extra__ == read.__pydantic_extra__:
                return True
        elif given == read:
            return True
        plain = [self._adapter.dump_python(value, round_trip=True, warnings=False) for value in (given, read)]
        return bool(plain[0] == plain[1])

    def _refuse(self, why: str, cause: BaseException | None = None) -> NoReturn:
        raise InvalidPayload(
            f"the payload of {self.name} cannot be enqueued: {why}",
            cure="pass what the handler's second parameter is annotated with; store large or free data in a table of "
            "yours and enqueue its key. For a key that a flush will make, pass a function: lambda: Payload(id=row.id)",
        ) from cause


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job that is not enqueued yet."""

    task: Task[Any, Any]
    payload: object  # or a function of no arguments that makes it, called after the flush
    options: JobOptions


class _TaskDecorator(Protocol):
    """Makes a task of a handler; the payload's and result's types come from its annotations."""

    @overload
    def __call__(self, handler: Callable[[AsyncContext, P], Awaitable[R]], /) -> Task[P, R]: ...
    @overload
    def __call__(self, handler: Callable[[Context, P], R], /) -> Task[P, R]: ...


class JobForge:
    """The registry of an application's tasks, and its defaults.

    Args:
        tenant: The one tenant of an application that has only one; otherwise each session or call names its own.
        notify: Wake sleeping workers through NOTIFY. Off, they poll: for two-phase commit, and for poolers that hand
            a connection to another client after each transaction.
        strict_rls: Refuse a login to which Postgres applies no policies (a superuser, BYPASSRLS), when enqueueing and
            for the sessions of handlers. Otherwise it is warned of once for each engine.

    Example:
        >>> forge = JobForge(tenant="main")
        >>> @forge.task(queue="mail", max_attempts=10)
        ... def send_receipt(ctx: Context, payload: Receipt) -> None: ...
    """

    def __init__(self, *, tenant: Tenant | None = None, notify: bool = True, strict_rls: bool = False) -> None:
        self.tenant = tenant
        self.notify = notify
        self.strict_rls = strict_rls
        self._tasks: dict[str, Task[Any, Any]] = {}

    @property
    def tasks(self) -> typing.Mapping[str, Task[Any, Any]]:
        """All tasks by name."""
        return MappingProxyType(self._tasks)

    def __iter__(self) -> Iterator[Task[Any, Any]]:
        return iter(self._tasks.values())

    def task(
        self, name: str | None = None, /, *, process: bool = False,
        merge: Callable[[Any, Any], Any] | None = None, **options: Unpack[TaskOptions],
    ) -> _TaskDecorator:  # fmt: skip
        """Decorate a handler: a function of a context and a payload.

        The name is what the database stores; without one it is the function's. Renaming a task leaves its waiting
        jobs to workers that still know the old name.

        Args:
            name: The task's name.
            process: Run the handler in a child process of the worker: for what must be killable, or keeps a processor
                busy. A plain function at the top level of a module, for the child imports it from there.
            merge: Makes one payload of two, that of a waiting job and the newer one's, where both have one unique key.
            options: Of all its jobs.

        Raises:
            ConfigurationError: the name is taken or malformed, an option is unknown, a key cannot be one, the handler's
                signature does not fit, or it cannot run in a process.
        """
        if callable(name):
            raise ConfigurationError("@forge.task needs parentheses", cure="write @forge.task()")
        for unknown in options.keys() - OPTIONS:
            raise ConfigurationError(f"a task has no option {unknown!r}", cure=f"options: {', '.join(sorted(OPTIONS))}")
        _check_keys(unique_key=options.get("unique_key"), ordering_key=options.get("ordering_key"))

        def decorate(handler: Callable[..., Any]) -> Task[Any, Any]:
            if process:
                _check_process(handler)
            task: Task[Any, Any] = Task(
                self, name or handler.__name__, handler, _payload_type(handler), options, process, merge
            )
            if not NAME.fullmatch(task.name):
                raise ConfigurationError(
                    f"{task.name!r} is no name for a task",
                    cure="use 1 to 100 of A-Z a-z 0-9 _ . : - and do not begin with . : -",
                )
            if task.name in self._tasks:
                raise ConfigurationError(
                    f"there is a task {task.name!r} already",
                    cure="give one of them another name: @forge.task('...')",
                )
            self._tasks[task.name] = task
            return task

        return decorate

    def include(self, other: JobForge) -> None:
        """Take over the tasks of another registry, such as a library's.

        Raises:
            ConfigurationError: both have a task of one name.
        """
        for task in other:
            if task.name in self._tasks:
                raise ConfigurationError(f"there is a task {task.name!r} already", cure="rename one of them")
        self._tasks |= other.tasks


def _check_keys(**keys: object) -> None:
    for name, key in keys.items():
        if key is not None and not callable(key) and not is_key(key):
            raise ConfigurationError(
                f"the {name} of a task cannot be {str(key)[:40]!r}, {type(key).__name__}",
                cure="pass a str of 1 to 200 characters without NUL, or a function of the payload that gives one",
            )


def checked(task: Task[P, R]) -> Task[P, R]:
    """A task.

    Raises:
        InvalidJob: it is none.
    """
    if not isinstance(task, Task):
        raise InvalidJob(
            f"{str(task)[:100]!r} is no task",
            cure="pass the function that @forge.task() decorates; from its registry: forge.tasks[name]",
        )
    return task


def faults(error: pydantic.ValidationError) -> str:
    """What pydantic found, without the values: they may be secrets, and errors end up in logs and records."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'payload'}: {fault['msg']}" for fault in found[:10])


def _check_process(handler: Callable[..., Any]) -> None:
    if inspect.iscoroutinefunction(handler):
        raise ConfigurationError(
            f"the handler {handler.__name__} is async, and process=True takes plain functions only",
            cure="write def; or leave process=True out, for async handlers are cancelled at their timeout as they are",
        )
    if "<locals>" in handler.__qualname__:
        raise ConfigurationError(
            f"the handler {handler.__qualname__} is defined in a function, where no other process finds it",
            cure="define it at the top level of a module (a decorator below @forge.task needs functools.wraps); "
            "or leave process=True out",
        )


def _result_adapter(handler: Callable[..., Any]) -> pydantic.TypeAdapter[Any]:
    """For what the handler is annotated to return, outcomes left out: a Retry leaves no result."""
    wanted: Any = typing.get_type_hints(handler, include_extras=True).get("return", Any)
    if typing.get_origin(wanted) in (typing.Union, types.UnionType):
        left = [part for part in typing.get_args(wanted) if not _is_outcome(part)]
        wanted = typing.Union[tuple(left)] if left else Any  # noqa: UP007 - made at run time
    return pydantic.TypeAdapter(Any if _is_outcome(wanted) else wanted)


def _is_outcome(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Outcome)


def _adapter(name: str, payload_type: Any) -> pydantic.TypeAdapter[Any]:
    try:
        return pydantic.TypeAdapter(payload_type)
    except pydantic.errors.PydanticUserError as error:  # a mapped class, as often as not
        raise ConfigurationError(
            f"the payload of {name} is annotated with what cannot be read from JSON: {error.message.splitlines()[0]}",
            cure="annotate it with a pydantic model, a dataclass, a dict ...; a row of yours is a field of one, "
            "order: Row[Order]",
        ) from error


def _payload_type(handler: Callable[..., Any]) -> Any:
    if not inspect.isroutine(handler):
        raise ConfigurationError(
            f"a handler is a function, not a {type(handler).__name__}", cure="write def or async def"
        )
    parameters = list(inspect.signature(handler).parameters.values())
    fits = len(parameters) == 2 and all(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
    if not fits:
        raise ConfigurationError(
            f"the handler {handler.__name__} takes {len(parameters)} parameters",
            cure="write def handler(ctx: Context, payload: YourModel) -> ...",
        )
    try:
        hints = typing.get_type_hints(handler, include_extras=True)
    except NameError as error:  # a model defined inside a function, below postponed annotations
        raise ConfigurationError(
            f"the annotations of {handler.__name__} cannot be resolved: {error}",
            cure="define the payload's model at the top level of a module",
        ) from error
    if parameters[1].name not in hints:
        raise ConfigurationError(
            f"the payload of {handler.__name__} has no type",
            cure=f"annotate it: {parameters[1].name}: YourModel (a pydantic model, a dataclass, dict[str, Any] ...)",
        )
    return hints[parameters[1].name]


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
