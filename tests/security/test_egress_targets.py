"""Cases 104 to 114, 119 and 122: what a URL may name. The numbers are those of docs/security-cases.md.

Nothing here opens a socket, and nothing needs more than Python and pytest: the tables must hold on each version.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Sequence
from threading import Event, Thread
from typing import Any

import pytest

from jobforge_sa.egress import lookup
from jobforge_sa.egress.address import NOT_PUBLIC_V4, NOT_PUBLIC_V6, Address, read, refusal
from jobforge_sa.egress.deadline import Deadline
from jobforge_sa.egress.policy import Egress
from jobforge_sa.egress.target import Target, parse, permit
from jobforge_sa.errors import Blocked, ConfigurationError, JobForgeError, RequestTimedOut, Unreachable

PUBLIC = "93.184.216.34"
PUBLIC_V6 = "2606:2800:220:1:248:1893:25c8:1946"
OPEN = Egress(schemes=("https", "http"), ports=(443, 80, 8443))


class Resolver:
    """Gives one answer after the other, the last one for ever, and counts."""

    def __init__(self, *answers: Sequence[str] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, _port: int) -> Sequence[str]:
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def where(url: str, *answers: Sequence[str] | Exception, policy: Egress = OPEN) -> list[Address]:
    """The addresses that a request would go to. A name leads to a public one, unless the test says otherwise."""
    target = parse(url)
    permit(target, policy)
    return lookup.judged(target, policy, Resolver(*(answers or ([PUBLIC],))), Deadline(10))


def refused(url: str, *answers: Sequence[str] | Exception, policy: Egress = OPEN) -> str:
    with pytest.raises(Blocked) as why:
        where(url, *answers, policy=policy)
    assert why.value.cure
    return str(why.value)


def leads_to(address: str) -> None:
    """An address is refused as a literal, and where a name leads there."""
    literal = f"[{address}]" if ":" in address else address
    assert "not reached from here" in refused(f"https://{literal}/")
    for answer in ([address], [PUBLIC, address]):
        why = refused("https://hook.test/", answer)
        assert "not reached from here" in why
        assert address not in why, "a tenant who reads it learns nothing of the inside"


def test_what_is_public_is_reached() -> None:
    assert where("https://hook.test/") == [ipaddress.ip_address(PUBLIC)]
    assert where("http://hook.test:8443/a?b=c", [PUBLIC, PUBLIC_V6]) == [read(PUBLIC), read(PUBLIC_V6)]
    assert where(f"https://{PUBLIC}/") == [read(PUBLIC)]
    assert where(f"https://[{PUBLIC_V6}]:8443/") == [read(PUBLIC_V6)]
    assert where("HTTPS://Hook.TEST/%2e%2e/;a=b?q=[1]&r=%0d%0a") == [read(PUBLIC)]
    for host in ("xn--bcher-kva.example", "a_b.hook.test", "1.hook.test", "a--b.test", "x" * 63 + ".test"):
        assert where(f"https://{host}/") == [read(PUBLIC)]


# -- 104 to 110: addresses that are not public, in every spelling ----------------------


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1/", "https://127.255.255.254:8443/", "https://localhost/", "https://localhost./",
     "https://LOCALHOST/", "https://LocalHost:8443/", "https://app.localhost/", "https://localhost.localdomain/"],
)  # fmt: skip
def test_case_104_loopback_by_number_and_by_name(url: str) -> None:
    refused(url)
    refused(url, ["127.0.0.1"])


@pytest.mark.parametrize("host", ["metadata", "postgresql", "kubernetes.default.svc.local", "metadata.google.internal",
                                  "router.home.arpa", "wiki.local", "vault.internal"])  # fmt: skip
def test_case_104_a_name_that_means_an_inside_is_not_even_looked_up(host: str) -> None:
    resolver = Resolver([PUBLIC])
    with pytest.raises(Blocked, match="means an inside"):
        permit(parse(f"https://{host}/"), OPEN)
    assert resolver.asked == []
    allowed = Egress(allow_hosts=(host,))
    assert where(f"https://{host}/", policy=allowed) == [read(PUBLIC)], "named, it is the operator's word"
    refused(f"https://{host}/", ["10.0.0.1"], policy=allowed)


@pytest.mark.parametrize(
    "host",
    ["127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0x7f.0x0.0x0.0x1", "0X7F000001", "017700000001",
     "0177.0.0.1", "0177.1", "0", "0.0", "00", "0x", "0x0", "1", "4294967295", "4294967296", "127.0.0.01",
     "127.0.0.001",
     "127.0.0.1.", "127.0.0.256", "127.0.0.1.1", "1.2.3", "999999999999999999999", "127.0.0.0x1", "a.0x7f", "a.1",
     "127。0。0。1", "①②⑦.0.0.1", "١٢٧.٠.٠.١"],
)  # fmt: skip
def test_case_105_an_address_is_written_in_one_way(host: str) -> None:
    refused(f"https://{host}/")


@pytest.mark.parametrize(
    "address",
    ["::1", "::", "::ffff:127.0.0.1", "::ffff:7f00:1", "::127.0.0.1", "::ffff:0:127.0.0.1", "0:0:0:0:0:0:0:1",
     "0000:0000:0000:0000:0000:ffff:7f00:0001", "::ffff:169.254.169.254", "::ffff:93.184.216.34", "::93.184.216.34"],
)  # fmt: skip
def test_case_106_loopback_in_ipv6_and_ipv4_within_it(address: str) -> None:
    leads_to(str(read(address)))
    refused(f"https://[{address}]/")


@pytest.mark.parametrize(
    "address",
    ["64:ff9b::7f00:1", "64:ff9b::127.0.0.1", "64:ff9b::5db8:d822", "64:ff9b:1::a00:1", "64:ff9b:1:fffe::7f00:1",
     "2002:7f00:1::", "2002:a00:1::1", "2002:5db8:d822::", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001::1",
     "2a00:1450::5efe:7f00:1", "2a00:1450::200:5efe:7f00:1", "2a00:1450::5efe:a00:1", "2001:10::1", "2001:20::1",
     "2001:2::1", "2001:1ff::1"],
)  # fmt: skip
def test_case_107_ways_from_ipv6_into_ipv4(address: str) -> None:
    leads_to(str(read(address)))


@pytest.mark.parametrize(
    "address",
    ["fe80::1", "febf::1", "fc00::1", "fd00:ec2::254", "fdff::1", "ff02::1", "ff0e::1", "fec0::1", "feff::1",
     "2001:db8::1", "3fff::1", "3fff:fff::1", "100::1", "5f00::1", "4000::1", "1fff::1", "e000::1", "2620:4f:8000::1"],
)  # fmt: skip
def test_case_108_local_multicast_documented_and_unassigned_ipv6(address: str) -> None:
    leads_to(address)


@pytest.mark.parametrize("host", ["[fe80::1%25lo]", "[fe80::1%lo]", "[fe80::1%251]", "[::1%25eth0]", "fe80::1%25lo"])
def test_case_108_a_zone_is_refused(host: str) -> None:
    refused(f"https://{host}/")
    refused("https://hook.test/", ["fe80::1%lo"])
    refused("https://hook.test/", [f"{PUBLIC_V6}%eth0"])


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "169.254.170.2", "169.254.0.1", "100.100.100.200", "192.0.0.192", "168.63.129.16",
                "fd00:ec2::254", "fd20:ce::254"]
)  # fmt: skip
def test_case_109_where_clouds_answer_their_own_machines(address: str) -> None:
    leads_to(address)


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255", "100.64.0.1",
     "100.127.255.255", "198.18.0.1", "198.19.255.255", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
     "0.0.0.0", "0.1.2.3", "192.0.0.1", "192.0.2.1", "192.88.99.1", "198.51.100.1", "203.0.113.1", "192.31.196.1",
     "192.52.193.1", "192.175.48.1"],
)  # fmt: skip
def test_case_110_private_shared_reserved_and_multicast(address: str) -> None:
    leads_to(address)


@pytest.mark.parametrize(("network", "what"), [*NOT_PUBLIC_V4, *NOT_PUBLIC_V6], ids=lambda one: str(one))
def test_case_110_each_network_ends_where_its_table_says(network: Any, what: str) -> None:
    tables: list[Any] = [one for one, _ in (*NOT_PUBLIC_V4, *NOT_PUBLIC_V6)]
    for inside in (network[0], network[-1]):
        assert refusal(inside) == what
    for number in (int(network[0]) - 1, int(network[-1]) + 1):
        if 0 <= number < 2**network.max_prefixlen:
            beside = type(network[0])(number)
            known = any(beside in one for one in tables) or (beside.version == 6 and number >> 125 != 1)
            assert (refusal(beside) is not None) == known, beside


def test_case_110_ours_is_stricter_than_each_versions_own_table() -> None:
    """Whatever this Python calls private or reserved is refused by us too; the other way round it is not so."""
    step = 2**32 // 65_521  # a prime, so that all blocks of /16 are met
    for number in range(0, 2**32, step):
        address = ipaddress.IPv4Address(number)
        if not address.is_global or address.is_multicast or address.is_reserved:
            assert refusal(address), address
    for high in range(2**16):
        v6 = ipaddress.IPv6Address(high << 112 | 1)
        if not v6.is_global or v6.is_multicast or v6.is_site_local or v6.sixtofour or v6.teredo:
            assert refusal(v6), v6


def test_case_110_networks_that_the_operator_opens_and_closes() -> None:
    policy = Egress(allow_networks=("10.20.0.0/16", "::1/128"), deny_networks=("10.20.9.0/24", "93.184.0.0/16"))
    assert where("https://hook.test/", ["10.20.1.1"], policy=policy) == [read("10.20.1.1")]
    assert where("https://[::1]/", policy=policy) == [read("::1")]
    for closed in ("10.20.9.1", "10.21.0.1", PUBLIC, "127.0.0.1", "::ffff:10.20.1.1"):
        refused("https://hook.test/", [closed], policy=policy)


def test_case_110_a_prefix_of_translation_that_is_opened_opens_no_inside() -> None:
    policy = Egress(allow_networks=("64:ff9b::/96",))
    assert where("https://hook.test/", [f"64:ff9b::{PUBLIC}"], policy=policy) == [read(f"64:ff9b::{PUBLIC}")]
    for inner in ("127.0.0.1", "10.0.0.1", "169.254.169.254"):
        assert "within it" in refused("https://hook.test/", [f"64:ff9b::{inner}"], policy=policy)


# -- 111, 112: what is no URL, or can be read in two ways ------------------------------


@pytest.mark.parametrize(
    "url",
    ["https://user:pw@hook.test/", "https://hook.test@127.0.0.1/", "https://127.0.0.1@hook.test/",
     "https://@hook.test/",
     "https://a%40b@hook.test/", "https://hook.test:443@127.0.0.1/", "https://hook.test\\@127.0.0.1/",
     "https://127.0.0.1\\@hook.test/", "https://hook.test\\.evil.test/", "https:\\\\hook.test/",
     "https://hook.test#@127.0.0.1/", "https://hook.test/#part", "https://hook.test#", "https://hook.test/?a#b"],
)  # fmt: skip
def test_case_111_userinfo_backslashes_and_fragments(url: str) -> None:
    assert "pw" not in refused(url)
    assert "credentials" in refused("https://user:pw@hook.test/")


@pytest.mark.parametrize(
    "url",
    ["https://hook.test/\r\nX: y", "https://hook.test/\n", "https://hook.test/\t", "https://ho\tok.test/",
     "https://127.0.\n0.1/", "ht\ntps://hook.test/", "java\tscript://hook.test/", "https://hook.test/\x00",
     "https://hook.test\x00.evil.test/", " https://hook.test/", "https://hook.test/ ", "https://hook.test/a b",
     "\x01https://hook.test/", "https://hook.test/\x7f", "https://hook.test/\x85", "https://hook.test/\u2028",
     "https://hook.test/ä", "https://hook.test/\ufeff", "https://hook.test/\udc80", "https://hook.test/<a>",
     'https://hook.test/"', "https://hook.test/{a}", "https://hook.test/a|b", "https://hook.test/a^b",
     "https://a`b.test/"],
    ids=ascii,
)  # fmt: skip
def test_case_111_characters_that_no_url_has(url: str) -> None:
    refused(url)


@pytest.mark.parametrize(
    "host",
    ["hook。test", "hook．test", "hook｡test", "ｈook.test", "hook.tеst", "büch.example", "ⓗook.test", "hook\u00ad.test",
     "hook\u200b.test", "ﬁ.test", "ß.test", "hook%2etest", "%68ook.test", "127%2e0%2e0%2e1", "%31%32%37.0.0.1",
     "hook%00.test",
     "hook.test%", "hook..test", ".hook.test", "hook.test.", "hook.test..", "-hook.test", "hook-.test", "hook.-a.test",
     "x" * 64 + ".test", ".".join(["x" * 60] * 5), "hook,test", "hook;test", "hook test", "hook!test", "*.hook.test",
     "~",
     "", ".", "..", "$", "[hook.test]", "hook.test]", "[::1", "::1]", "::1", "[]", "[:]", "[::1]a", "[::1].hook.test",
     "a[::1]",
     "[1.2.3.4]", "[::g]", "[v1.a]", "[::1]]", "[[::1]]"],
    ids=ascii,
)  # fmt: skip
def test_case_111_hosts_that_are_none(host: str) -> None:
    refused(f"https://{host}/")


@pytest.mark.parametrize(
    "port",
    ["0", "-1", "65536", "99999", "00443", "0443", "+443", "4 43", "443a", "0x1bb", "", "443:443", "9" * 20, "1e2",
     pytest.param("４４３", id="full width"), pytest.param("٤٤٣", id="arabic")],
)  # fmt: skip
def test_case_111_ports_that_are_none(port: str) -> None:
    refused(f"https://hook.test:{port}/")
    refused(f"https://[{PUBLIC_V6}]:{port}/")


@pytest.mark.parametrize("url", ["", "hook.test", "//hook.test/", "/path", "https:hook.test", "https:/hook.test", "https://",
                                 "https:///path", "https://?a", "https//hook.test", "://hook.test", ":",
                                 "1https://hook.test",
                                 "https://" + "a" * 4000 + ".test/"])  # fmt: skip
def test_case_111_what_is_no_url(url: str) -> None:
    refused(url)


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "file://hook.test/etc/passwd", "gopher://hook.test/_x", "ftp://hook.test/",
     "dict://hook.test:11211/",
     "unix:///var/run/docker.sock", "http+unix://hook.test/", "data:text/plain,x", "javascript:alert(1)",
     "ldap://hook.test/",
     "jar:https://hook.test/", "ws://hook.test/", "wss://hook.test/", "sftp://hook.test/", "https+x://hook.test/",
     "view-source:https://hook.test/", "blob:https://hook.test/"],
)  # fmt: skip
def test_case_112_schemes(url: str) -> None:
    refused(url)
    refused(url, policy=Egress(ports=(*OPEN.ports, 11211)))


def test_case_112_by_default_plain_http_and_other_ports_are_refused() -> None:
    assert where("https://hook.test/", policy=Egress())
    assert "http:// is not allowed" in refused("http://hook.test/", policy=Egress())
    assert "http:// is not allowed" in refused("http://hook.test:443/", policy=Egress())
    for port in (22, 25, 80, 5432, 6379, 8443):
        assert f"port {port} is not allowed" in refused(f"https://hook.test:{port}/", policy=Egress())
    assert "port 80 is" in refused("http://hook.test/", policy=Egress(schemes=("http",)))


def test_case_112_a_policy_that_cannot_work_is_refused_when_it_is_made() -> None:
    wrong: list[dict[str, Any]] = [
        {"schemes": ("file",)}, {"schemes": "https"}, {"methods": ("CONNECT",)}, {"methods": ("get",)}, {"ports": (0,)},
        {"ports": (65536,)}, {"ports": (True,)}, {"ports": "443"}, {"ports": 443}, {"allow_hosts": ("https://a.test",)},
        {"allow_hosts": "a.test"}, {"allow_hosts": ("*",)}, {"allow_hosts": ("a.*",)}, {"allow_hosts": ("*a.test",)},
        {"allow_hosts": ("a.test:80",)}, {"deny_hosts": ("bü.test",)}, {"allow_networks": ("10.0.0.1/8",)},
        {"allow_networks": ("all",)}, {"deny_networks": (1,)}, {"timeout": 0}, {"timeout": float("nan")},
        {"timeout": float("inf")}, {"timeout": True}, {"max_bytes": -1}, {"max_bytes": 2**40}, {"max_bytes": "1"},
    ]  # fmt: skip
    for options in wrong:
        with pytest.raises(ConfigurationError) as refusal_of_it:
            Egress(**options)
        assert refusal_of_it.value.cure, options


# -- 113, 114: what a resolver says ----------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [["127.0.0.1"], ["10.0.0.1"], [PUBLIC, "10.0.0.1"], ["10.0.0.1", PUBLIC], [PUBLIC_V6, "::1"], ["::ffff:10.0.0.1"],
     ["64:ff9b::a00:1"], [PUBLIC, "0.0.0.0"], [], [""], ["hook.test"], ["127.1"], ["2130706433"], ["0x7f.0.0.1"],
      ["010.0.0.1"],
     [f"{PUBLIC} "], [f"{PUBLIC}\x00"], ["[::1]"], [f"{PUBLIC}/32"], [PUBLIC] * 65, [PUBLIC] * 100_000],
    ids=lambda answer: f"{len(answer)} {answer[:2]!a}",
)  # fmt: skip
def test_case_113_each_address_of_an_answer_has_to_be_allowed(answer: list[str]) -> None:
    refused("https://hook.test/", answer)


def test_case_113_of_an_answer_within_bounds_all_are_kept_in_their_order() -> None:
    assert where("https://hook.test/", [PUBLIC_V6, PUBLIC] * 32) == [read(PUBLIC_V6), read(PUBLIC)] * 32


@pytest.mark.parametrize(
    "error", [OSError(-2, "Name or service not known"), UnicodeError("label too long"), RuntimeError("?")]
)
def test_case_113_a_name_that_leads_nowhere_may_do_so_later(error: Exception) -> None:
    with pytest.raises(Unreachable, match=r"hook\.test leads nowhere") as failure:
        where("https://hook.test/", error)
    assert not failure.value.sent


def test_case_113_a_resolver_that_hangs_is_left_behind_at_the_deadline() -> None:
    end = Event()

    def hang(host: str, port: int) -> list[str]:
        end.wait(20)
        return [PUBLIC]

    started = time.monotonic()
    with pytest.raises(RequestTimedOut) as failure:
        lookup.judged(parse("https://hook.test/"), OPEN, hang, Deadline(0.1))
    assert time.monotonic() - started < 5
    assert not failure.value.sent
    end.set()


def test_case_113_of_lookups_that_hang_there_are_so_many_and_the_next_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "_room", lookup.Room(2))
    end, begun = Event(), list[str]()

    def hang(host: str, port: int) -> list[str]:
        begun.append(host)
        end.wait(20)
        return [PUBLIC]

    for _ in range(5):
        with pytest.raises(RequestTimedOut):
            lookup.judged(parse("https://hook.test/"), OPEN, hang, Deadline(0.05))
    assert len(begun) == 2
    end.set()
    assert where("https://hook.test/") == [read(PUBLIC)], "room again"


def test_case_113_of_one_tenants_lookups_that_hang_others_know_nothing() -> None:
    end = Event()

    def hang(host: str, port: int) -> list[str]:
        end.wait(20)
        return [PUBLIC]

    try:
        for _ in range(lookup.MOST_OF_ONE + 1):
            with pytest.raises(RequestTimedOut):
                lookup.judged(parse("https://hook.test/"), OPEN, hang, Deadline(0.02), "acme")
        assert lookup.MOST_OF_ONE < lookup.MOST_HANGING
        answers = Resolver([PUBLIC], [PUBLIC])
        assert lookup.judged(parse("https://hook.test/"), OPEN, answers, Deadline(5), "other") == [read(PUBLIC)]
        with pytest.raises(RequestTimedOut):
            lookup.judged(parse("https://hook.test/"), OPEN, answers, Deadline(0.05), "acme")
    finally:
        end.set()
    assert lookup.judged(parse("https://hook.test/"), OPEN, answers, Deadline(5), "acme") == [read(PUBLIC)], (
        "room again"
    )


def test_case_113_a_system_without_a_thread_left_loses_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_: Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(lookup, "_room", lookup.Room(1))
    with monkeypatch.context() as short:
        short.setattr(Thread, "start", none_left)
        for _ in range(3):
            with pytest.raises(Unreachable, match="can't start new thread"):
                where("https://hook.test/")
    assert where("https://hook.test/") == [read(PUBLIC)]


def test_case_114_a_name_is_looked_up_once_and_an_address_never() -> None:
    resolver = Resolver([PUBLIC], ["127.0.0.1"])
    found = lookup.judged(parse("https://Hook.test:8443/"), OPEN, resolver, Deadline(10))
    assert (found, resolver.asked) == ([read(PUBLIC)], ["hook.test"])
    lookup.judged(parse(f"https://{PUBLIC}/"), OPEN, resolver, Deadline(10))
    assert resolver.asked == ["hook.test"]


# -- 119, 122: lists of hosts, and whose word they are ---------------------------------


@pytest.mark.parametrize(
    ("pattern", "host", "fits"),
    [("hook.test", "hook.test", True), ("hook.test", "HOOK.TEST", True), ("Hook.Test", "hook.test", True),
     ("hook.test", "evilhook.test", False), ("hook.test", "a.hook.test", False), ("hook.test", "hook.test.evil.test",
     False),
     ("*.hook.test", "a.hook.test", True), ("*.hook.test", "a.b.hook.test", True), ("*.hook.test", "hook.test", False),
     ("*.hook.test", "evilhook.test", False), ("*.hook.test", "a.hook.test.evil.test", False), (PUBLIC, PUBLIC, True),
     ("hook.test", PUBLIC, False), (f"[{PUBLIC_V6}]", f"[{PUBLIC_V6}]", True),
     (PUBLIC_V6, f"[{PUBLIC_V6.replace(':1:', ':0001:')}]", True)],
)  # fmt: skip
def test_case_119_a_list_of_hosts_means_what_it_says(pattern: str, host: str, fits: bool) -> None:
    allowing, denying = Egress(allow_hosts=(pattern,)), Egress(deny_hosts=(pattern,))
    for policy, reached in ((allowing, fits), (denying, not fits)):
        if reached:
            assert where(f"https://{host}/", policy=policy)
        else:
            refused(f"https://{host}/", policy=policy)


def test_case_119_a_host_that_is_allowed_is_judged_by_its_address_all_the_same() -> None:
    policy = Egress(allow_hosts=("hook.test",), deny_hosts=("*.bad.test",))
    refused("https://hook.test/", ["10.0.0.1"], policy=policy)
    refused("https://hook.test/", policy=policy.narrowed({"deny_hosts": ["hook.test"]}))
    assert "none" not in refused("https://hook.test/", policy=Egress(allow_hosts=()))


def test_case_122_a_configuration_narrows_and_never_widens() -> None:
    ours = Egress(
        schemes=("https",), ports=(443, 8443), methods=("GET", "POST"), deny_hosts=("x.hook.test",),
        allow_hosts=("*.hook.test", "b.test", "*.c.test"), deny_networks=("93.0.0.0/8",), timeout=10, max_bytes=1000,
    )  # fmt: skip
    theirs = {
        "schemes": ["http", "https"], "ports": [80, 8443], "methods": ["POST", "DELETE"], "timeout": 60,
        "max_bytes": 10,
        "allow_hosts": ["a.hook.test", "hook.test", "*.test", "evil.example", "*.b.c.test"], "deny_hosts": ["b.test"],
        "deny_networks": ["8.0.0.0/8"],
    }  # fmt: skip
    both = ours.narrowed(theirs)
    assert (both.schemes, both.ports, both.methods) == (("https",), (8443,), ("POST",))
    assert (both.timeout, both.max_bytes, both.max_request_bytes) == (10.0, 10, ours.max_request_bytes)
    assert both.allow_hosts is not None
    assert set(both.allow_hosts) == {"a.hook.test", "*.hook.test", "b.test", "*.c.test", "*.b.c.test"}
    assert both.deny_hosts == ("x.hook.test", "b.test")
    assert both.deny_networks == ("93.0.0.0/8", "8.0.0.0/8")
    assert ours.narrowed({}) == ours.narrowed({"allow_hosts": None, "timeout": None}) == ours
    assert Egress(allow_hosts=("a.test",)).narrowed({"allow_hosts": ["b.test"]}).allow_hosts == ()
    refused("https://a.test/", policy=Egress(allow_hosts=("a.test",)).narrowed({"allow_hosts": ["b.test"]}))


@pytest.mark.parametrize("pattern", ["vault.internal", "*.internal", "localhost", "db", "*.arpa", "*.home.arpa"])
def test_case_122_a_configuration_opens_no_inside_by_name(pattern: str) -> None:
    """Beside networks that the operator opened its name is what keeps an inside from a tenant."""
    name = pattern.replace("*.arpa", "x.home.arpa").replace("*", "x")
    ours = Egress(allow_networks=("10.0.0.0/8",))
    refused(f"https://{name}/", policy=ours)
    refused(f"https://{name}/", policy=ours.narrowed({"allow_hosts": [pattern, "api.example.com"]}))
    permit(parse("https://api.example.com/"), ours.narrowed({"allow_hosts": [pattern, "*.com"]}))
    permit(parse("https://[2a00::1]/"), ours.narrowed({"allow_hosts": ["2a00::1"]}))
    if pattern != "*.arpa":
        permit(parse(f"https://{name}/"), Egress(allow_hosts=(pattern,)))


@pytest.mark.parametrize(
    "config",
    [{"allow_networks": ["127.0.0.0/8"]}, {"allow_host": ["a.test"]}, {"resolve": "x"}, {"allow_hosts": "a.test"},
     {"timeout": -1}, {"ports": ["443"]}, {"deny_networks": ["nonsense"]}],
)  # fmt: skip
def test_case_122_a_configuration_opens_no_network_and_is_not_guessed_at(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as refusal_of_it:
        Egress().narrowed(config)
    assert refusal_of_it.value.cure


def test_a_message_says_which_host_and_keeps_the_rest_to_itself() -> None:
    url = "https://hook.test:8443/t/TOKEN?key=SECRET"
    target = parse(url)
    assert target == Target("https", "hook.test", 8443, "/t/TOKEN?key=SECRET")
    assert (str(target), target.authority) == ("https://hook.test:8443", "hook.test:8443")
    assert parse("https://HOOK.test?a=b").path == "/?a=b"
    assert parse(f"https://[{PUBLIC_V6.upper()}]/").authority == f"[{PUBLIC_V6}]"
    failures: list[JobForgeError] = []
    for policy, answer in ((Egress(), [PUBLIC]), (OPEN, ["10.0.0.1"]), (OPEN, OSError("no")), (OPEN, list[str]())):
        with pytest.raises(JobForgeError) as failure:
            where(url, answer, policy=policy)
        failures.append(failure.value)
    assert not [one for one in failures if "SECRET" in str(one) or "TOKEN" in str(one)]
