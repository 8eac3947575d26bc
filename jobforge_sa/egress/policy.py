"""What may be asked of whom: the operator's word, which a tenant's configuration can only narrow."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from jobforge_sa.egress.address import Network
from jobforge_sa.errors import ConfigurationError

SCHEMES = ("https", "http")
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
MOST_SECONDS = 3600.0
MOST_BYTES = 64 * 1024 * 1024

# Names that mean an inside, whatever a resolver says of them; a name without a dot is completed by its search list.
INSIDE = ("localhost", "localdomain", "local", "internal", "home.arpa")

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_PATTERN = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")


@dataclass(frozen=True, slots=True)
class Egress:
    """Which requests may leave. Nothing that is not public, unless it is said here.

    Attributes:
        schemes: Of "https" and "http".
        ports: Allowed ports.
        methods: Allowed methods.
        allow_hosts: The only hosts that are allowed: names, addresses, or `*.example.com`, which is each name below
            example.com and not itself. None: every public one.
        deny_hosts: Hosts that are not, written the same way.
        allow_networks: Networks (CIDR) that are allowed although they are not public. They open them for each name that
            leads there, so name hosts beside them.
        deny_networks: Networks that are never connected to: a NAT64 prefix of your own network is one.
        timeout: Seconds for the whole of a request: lookup, connection, TLS, request and answer.
        max_bytes: How much of an answer's body is read. What is longer is cut, and said to be.
        max_request_bytes: How long the body of a request may be.

    Raises:
        ConfigurationError: something of it cannot work.
    """

    schemes: tuple[str, ...] = ("https",)
    ports: tuple[int, ...] = (443,)
    methods: tuple[str, ...] = METHODS
    allow_hosts: tuple[str, ...] | None = None
    deny_hosts: tuple[str, ...] = ()
    allow_networks: tuple[str, ...] = ()
    deny_networks: tuple[str, ...] = ()
    timeout: float = 30.0
    max_bytes: int = 1024 * 1024
    max_request_bytes: int = 1024 * 1024
    allowed: tuple[Network, ...] = field(init=False, repr=False, compare=False, default=())
    denied: tuple[Network, ...] = field(init=False, repr=False, compare=False, default=())

    def __post_init__(self) -> None:
        for name, read in _READ.items():
            object.__setattr__(self, name, read(name, getattr(self, name)))
        object.__setattr__(self, "allowed", tuple(map(ipaddress.ip_network, self.allow_networks)))
        object.__setattr__(self, "denied", tuple(map(ipaddress.ip_network, self.deny_networks)))

    def narrowed(self, config: Mapping[str, Any]) -> Self:
        """This policy and a tenant's configuration: what both allow, what either denies, the smaller of two bounds.

        Args:
            config: Of the names of NARROWING, as JSON has them.

        Raises:
            ConfigurationError: another name stands there, or a value that cannot work.
        """
        if unknown := sorted(config.keys() - set(NARROWING)):
            raise ConfigurationError(
                f"a connector's configuration knows no {unknown[0]!r}", cure=f"it takes {', '.join(NARROWING)}"
            )
        given = {name: _READ[name](name, value) for name, value in config.items() if value is not None}
        return dataclasses.replace(self, **{n: NARROWING[n](getattr(self, n), value) for n, value in given.items()})


def host_fits(host: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns means this host: itself, or with `*.` each name below it."""
    return any(host.endswith(one[1:]) if one.startswith("*.") else host == one for one in patterns)


def is_inside(host: str) -> bool:
    """Whether a name means an inside by itself."""
    return "." not in host or host_fits(host, [*INSIDE, *(f"*.{name}" for name in INSIDE)])


def names_inside(host: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns means this inside, and not the host among all others: `*.arpa` is not home.arpa."""
    return host_fits(host, [one for one in patterns if is_inside(one)])


def _words(allowed: tuple[str, ...]) -> Callable[[str, Any], tuple[str, ...]]:
    def read(name: str, value: Any) -> tuple[str, ...]:
        found = _texts(name, value)
        if wrong := [one for one in found if one not in allowed]:
            raise ConfigurationError(f"{name} cannot be {wrong[0][:40]!r}", cure=f"write of {', '.join(allowed)}")
        return found

    return read


def _texts(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigurationError(f"{name} is a list of texts", cure=f'write {name}: ["..."]')
    found = tuple(value)
    if not all(isinstance(one, str) for one in found):
        raise ConfigurationError(f"{name} is a list of texts", cure=f'write {name}: ["..."]')
    return found


def _ports(name: str, value: Any) -> tuple[int, ...]:
    found: tuple[Any, ...] = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (None,)
    if not all(type(one) is int and 1 <= one <= 65535 for one in found):
        raise ConfigurationError(f"{name} is a list of numbers from 1 to 65535", cure=f"write {name}: [443]")
    return found


def _hosts(name: str, value: Any) -> tuple[str, ...]:
    return tuple(_host(name, one.lower()) for one in _texts(name, value))


def _host(name: str, pattern: str) -> str:
    try:
        return str(ipaddress.ip_address(pattern.strip("[]")))
    except ValueError:
        pass
    if _PATTERN.fullmatch(pattern) and HOST.fullmatch(pattern.removeprefix("*.")):
        return pattern
    raise ConfigurationError(
        f"{name} cannot hold {pattern[:80]!r}",
        cure="write a name (hooks.example.com), what is below it (*.example.com), or an address; names beyond ASCII as "
        "they are in DNS (xn--...); no scheme, port or path",
    )


def _maybe_hosts(name: str, value: Any) -> tuple[str, ...] | None:
    return None if value is None else _hosts(name, value)


def _networks(name: str, value: Any) -> tuple[str, ...]:
    return tuple(_network(name, one) for one in _texts(name, value))


def _network(name: str, text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise ConfigurationError(f"{name}: {error}", cure="write a network, such as 10.20.0.0/16") from error


def _seconds(name: str, value: Any) -> float:
    return float(_number(name, value, MOST_SECONDS))


def _bytes(name: str, value: Any) -> int:
    return int(_number(name, value, MOST_BYTES))


def _number(name: str, value: Any, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise ConfigurationError(f"{name} is a number above 0, {most:.0f} at most", cure="leave it out for the default")
    return value


def _both(ours: tuple[Any, ...], theirs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(one for one in ours if one in theirs)


def _either(ours: tuple[Any, ...], theirs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys([*ours, *theirs]))


def _both_hosts(ours: tuple[str, ...] | None, theirs: tuple[str, ...]) -> tuple[str, ...]:
    """What fits both lists: of two patterns that meet the narrower one, which lies within the other."""
    if ours is None:  # every public host: one that means an inside is for the operator to name
        return tuple(one for one in theirs if ":" in one or not is_inside(one))
    pairs = [(a, b) for a in ours for b in theirs] + [(b, a) for a in ours for b in theirs]
    return tuple(dict.fromkeys(narrow for narrow, wide in pairs if _within(narrow, wide)))


def _within(narrow: str, wide: str) -> bool:
    return narrow == wide or (wide.startswith("*.") and narrow.removeprefix("*").endswith(wide[1:]))


_READ: dict[str, Callable[[str, Any], Any]] = {
    "schemes": _words(SCHEMES),
    "ports": _ports,
    "methods": _words(METHODS),
    "allow_hosts": _maybe_hosts,
    "deny_hosts": _hosts,
    "allow_networks": _networks,
    "deny_networks": _networks,
    "timeout": _seconds,
    "max_bytes": _bytes,
    "max_request_bytes": _bytes,
}
# what a tenant's configuration may say, and how the two become one; allow_networks is not among them
NARROWING: dict[str, Callable[[Any, Any], Any]] = {
    "schemes": _both,
    "ports": _both,
    "methods": _both,
    "allow_hosts": _both_hosts,
    "deny_hosts": _either,
    "deny_networks": _either,
    "timeout": min,
    "max_bytes": min,
    "max_request_bytes": min,
}
