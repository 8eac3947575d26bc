"""Whether an address is public, by tables of our own.

Not `ipaddress.is_global`: it changes with the version of Python. 3.11 calls 2002::/16 and 64:ff9b:1::/48 global, 3.13
still fec0::/10, and no version knows the addresses at which clouds answer their own machines.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

from jobforge_sa.errors import Blocked

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

# IANA's special-purpose registry, and what is known to be somebody's inside
NOT_PUBLIC_V4: tuple[tuple[IPv4Network, str], ...] = tuple(
    (IPv4Network(network), what)
    for network, what in (
        ("0.0.0.0/8", "this host"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a carrier's customers"),  # 100.100.100.200: a cloud's metadata
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud's own"),  # public by number, and inside of every machine there
        ("169.254.0.0/16", "link-local"),  # 169.254.169.254, 169.254.170.2: clouds' metadata
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "the protocol's"),  # 192.0.0.192: a cloud's metadata
        ("192.0.2.0/24", "for documentation"),
        ("192.31.196.0/24", "a sink of AS112"),
        ("192.52.193.0/24", "a relay of multicast"),
        ("192.88.99.0/24", "a relay of 6to4"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "a sink of AS112"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),  # with 255.255.255.255
    )
)
# of IPv6 only this is given to anybody; all around it is loopback, mapped, translated, local, multicast, or nobody's
GLOBAL_V6 = IPv6Network("2000::/3")
NOT_PUBLIC_V6: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(network), what)
    for network, what in (
        ("2001::/23", "the protocol's"),  # Teredo, which has an IPv4 address in it; ORCHID; benchmarks
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "6to4"),  # an IPv4 address in it
        ("2620:4f:8000::/48", "a sink of AS112"),
        ("3fff::/20", "for documentation"),
    )
)
NAT64 = IPv6Network("64:ff9b::/96")  # the one prefix whose IPv4 address stands at a place that is known
ISATAP = 0x0000_5EFE  # the middle of an address whose last 32 bits are an IPv4 one; 0x0200_5EFE as well
MAPPED = IPv6Network("::ffff:0:0/96")


def read(text: str) -> Address:
    """An address as a resolver writes it.

    Raises:
        Blocked: it is none, or has a zone.
    """
    try:
        if "%" in text:
            raise ValueError(text)
        return ip_address(text)
    except ValueError:
        raise Blocked(f"{text[:60]!r} is no address", cure="a resolver gives plain addresses, without a zone") from None


def refusal(address: Address, allowed: Iterable[Network] = (), denied: Iterable[Network] = ()) -> str | None:
    """Why no connection is made to an address; None where nothing is against it.

    Args:
        address: The address.
        allowed: Networks that are allowed although they are not public: the operator's word.
        denied: Networks that are not, whatever else holds.
    """
    if _in(address, denied):
        return "in a network that is denied"
    inner = _inner(address)
    if inner is not None and (why := refusal(inner, allowed, denied)):
        return f"a way to an address within it: {why}"
    if _in(address, allowed):
        return None
    return _not_public_v4(address) if isinstance(address, IPv4Address) else _not_public_v6(address)


def _in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)  # of another version: never in it


def _inner(address: Address) -> IPv4Address | None:
    """The IPv4 address that is reached in truth: judged on its own, so that allowing a prefix opens no inside."""
    if isinstance(address, IPv6Address) and (address in NAT64 or address in MAPPED):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


def _not_public_v4(address: IPv4Address) -> str | None:
    return next((what for network, what in NOT_PUBLIC_V4 if address in network), None)


def _not_public_v6(address: IPv6Address) -> str | None:
    if address not in GLOBAL_V6:
        return "outside of the public part of IPv6"
    if (int(address) >> 32) & 0xFDFF_FFFF == ISATAP:
        return "ISATAP"
    return next((what for network, what in NOT_PUBLIC_V6 if address in network), None)
