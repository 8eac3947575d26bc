"""A URL, read strictly, by one parser, and judged by the policy before anything is looked up.

Not `urlsplit`: it drops tabs and newlines, takes a backslash for a letter and userinfo for granted. What two parsers
may read in two ways is refused here.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import NoReturn

from jobforge_sa.egress.address import Address
from jobforge_sa.egress.policy import HOST, Egress, host_fits, is_inside, names_inside
from jobforge_sa.errors import Blocked

MAX_URL = 4000  # characters
DEFAULT_PORTS = {"https": 443, "http": 80}

# RFC 3986 knows no other: no blanks, controls, quotes, none of <>\^`{|}, nothing beyond ASCII
_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<place>[^/?#]*)(?P<rest>(?:/[^?#]*)?(?:\?[^#]*)?)")
_PLACE = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:]+))(?::(?P<port>[0-9]+))?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
# a last part that is a number makes the whole an IPv4 address for inet_aton: 127.1, 0x7f000001, 017700000001
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)")
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_V4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes.

    Attributes:
        scheme: "https" or another one, in small letters.
        host: A name in small letters, or an address as text, without brackets.
        port: The port, the scheme's own where the URL names none.
        path: Path and query, as they stand in the URL.
        address: The address, where the URL has one instead of a name.
    """

    scheme: str
    host: str
    port: int
    path: str
    address: Address | None = None

    @property
    def authority(self) -> str:
        """What the header Host says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if DEFAULT_PORTS.get(self.scheme) == self.port else f"{host}:{self.port}"

    def __str__(self) -> str:
        """For messages: without path and query, which may hold what is secret."""
        return f"{self.scheme}://{self.authority}"


def parse(url: str) -> Target:
    """A URL, read.

    Raises:
        Blocked: it is none, or one that can be read in two ways. The message quotes no more than its host.
    """
    if not 1 <= len(url) <= MAX_URL:
        _refuse(f"a URL is a text of 1 to {MAX_URL} characters", "shorten it; long data belongs into the body")
    if not _CHARACTERS.fullmatch(url):
        _refuse("the URL holds a character that no URL has", "percent-encode it; a host beyond ASCII is xn--...")
    found = _URL.fullmatch(url)
    if found is None:
        _refuse("the URL is not scheme://host/path?query", "leave a #fragment out, and write //")
    place = found["place"]
    if "@" in place:
        _refuse("the URL has credentials in it", "send them in a header, as a secret")
    parts = _PLACE.fullmatch(place)
    if parts is None:
        _refuse("the URL has no host that can be read", "write scheme://host/ or scheme://host:port/")
    scheme = found["scheme"].lower()
    host, address = _host(parts["v6"], parts["name"])
    return Target(scheme, host, _port(scheme, parts["port"]), _path(found["rest"]), address)


def permit(target: Target, policy: Egress) -> None:
    """Judge a target by all that is known of it before its name is looked up.

    Raises:
        Blocked: the policy does not allow it.
    """
    if target.scheme not in policy.schemes:
        _refuse(f"{target.scheme}:// is not allowed", f"use {' or '.join(policy.schemes) or 'another connector'}")
    if target.port not in policy.ports:
        _refuse(f"port {target.port} is not allowed", "the operator's Egress(ports=...) names those that are")
    if host_fits(target.host, policy.deny_hosts):
        _refuse(f"the host {target.host} is denied", "an administrator denied it: deny_hosts")
    if policy.allow_hosts is not None and not host_fits(target.host, policy.allow_hosts):
        _refuse(f"the host {target.host} is not among those that are allowed", "an administrator allows hosts")
    if target.address is None and is_inside(target.host) and not names_inside(target.host, policy.allow_hosts or ()):
        _refuse(f"the name {target.host} means an inside", "the operator allows it by name: Egress(allow_hosts=...)")


def _host(v6: str | None, name: str | None) -> tuple[str, Address | None]:
    if v6 is not None:
        try:
            address = ipaddress.IPv6Address(v6)
        except ValueError:
            _refuse("the URL's host is no IPv6 address", "write it as [2a00::1]")
        return str(address), address
    host = (name or "").lower()
    if _NUMBER.fullmatch(host):
        if not _V4.fullmatch(host):
            _refuse("the URL's host is a number that is no plain IPv4 address", "write four decimal numbers")
        return host, ipaddress.IPv4Address(host)
    if not HOST.fullmatch(host):
        _refuse("the URL's host is no name", "write letters, digits, - and dots between them, none at the end")
    return host, None


def _port(scheme: str, text: str | None) -> int:
    if text is None:
        return DEFAULT_PORTS.get(scheme, 0)
    if not _PORT.fullmatch(text) or int(text) > 65535:
        _refuse("the URL's port is no number from 1 to 65535", "write it plainly, or leave it out with its colon")
    return int(text)


def _path(rest: str) -> str:
    return rest if rest.startswith("/") else f"/{rest}"


def _refuse(why: str, cure: str) -> NoReturn:
    raise Blocked(why, cure=cure)
