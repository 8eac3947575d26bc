"""Cases 114 to 123: what comes back, and from whom. The numbers are those of docs/security-cases.md."""

from __future__ import annotations

import datetime as dt
import gzip
import socket
import ssl
import struct
import threading
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from jobforge_sa.egress import lookup, wire
from jobforge_sa.egress.client import Client, Response
from jobforge_sa.egress.headers import MOST_HEADERS
from jobforge_sa.egress.policy import Egress
from jobforge_sa.errors import BadAnswer, Blocked, RequestTimedOut, Unreachable
from tests.security.egress_server import HOST, OK, Answer, Authority, Dialer, Names, Serving, client, closed_port, url

PUBLIC = "93.184.216.34"
AN_HOUR = dt.timedelta(hours=1)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def get(server: Serving, **policy: Any) -> Response:
    return client(server, **policy).send("GET", url(server))


def within(seconds: float, call: Callable[[], object]) -> RequestTimedOut:
    """The call ends by its deadline of 0.3 s, and not later than a busy machine needs."""
    started = time.monotonic()
    with pytest.raises(RequestTimedOut, match=r"no whole answer within 0\.3 s") as failure:
        call()
    took = time.monotonic() - started
    assert 0.25 < took < seconds, took
    return failure.value


# -- what a request is -----------------------------------------------------------------


def test_a_request_is_what_was_asked_for_and_no_more() -> None:
    with Serving(b"HTTP/1.1 201 Made\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 5\r\n\r\nhello") as server:
        path = "/a%20b?c=d"
        response = client(server).send("POST", url(server, path=path), {"X-Mine": "yes", "Accept": "text/plain"}, b"{}")

    assert (response.status, response.body, response.truncated) == (201, b"hello", False)
    assert response.headers == (("X-A", "1"), ("x-a", "2"), ("Content-Length", "5"))
    assert (response.header("x-A"), response.header("none")) == ("1", None)
    assert 0 < response.duration < 5
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert body == b"{}"
    assert head.decode().split("\r\n") == [
        "POST /a%20b?c=d HTTP/1.1", f"Host: {HOST}:{server.port}", "Connection: close", "Accept-Encoding: identity",
        "User-Agent: jobforge", "Content-Length: 2", "X-Mine: yes", "Accept: text/plain",
    ]  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"])
def test_each_method_has_its_answer(method: str) -> None:
    with Serving(b"HTTP/1.1 204 No\r\n\r\n" if method != "HEAD" else OK.removesuffix(b"ok")) as server:
        assert client(server).send(method, url(server)).body == b""
    assert server.requests[0].startswith(f"{method} / HTTP/1.1\r\n".encode())
    assert (b"Content-Length: 0" in server.requests[0]) == (method in ("POST", "PUT", "PATCH"))


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "get", "GET ", "GET\r\nX: y", "", "PROPFIND"])
def test_a_method_that_is_not_allowed_is_refused(method: str) -> None:
    with pytest.raises(Blocked, match="method"):
        Client(Egress()).send(method, "https://hook.test/")
    with pytest.raises(Blocked, match="method"):
        Client(Egress(methods=("GET",))).send("POST", "https://hook.test/")


def test_a_body_has_its_bound() -> None:
    with Serving() as server:
        most = client(server, max_request_bytes=1000)
        assert most.send("POST", url(server), body=b"x" * 1000).status == 200
        with pytest.raises(Blocked, match="1001 bytes"):
            most.send("POST", url(server), body=b"x" * 1001)
    assert len(server.requests) == 1


def test_it_goes_by_ipv6_as_well() -> None:
    with Serving(host="::1") as server:
        assert client(server, names=Names("::1")).send("GET", url(server)).body == b"ok"
        assert client(server).send("GET", url(server, host="[::1]")).body == b"ok"
    assert f"Host: [::1]:{server.port}\r\n".encode() in server.requests[1]


# -- 114: rebinding --------------------------------------------------------------------


def test_case_114_one_lookup_one_connection_to_the_address_that_was_judged() -> None:
    """A name that leads to a public address for who judges, and to loopback for who connects, is asked once."""
    answers = iter([[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]])
    asked: list[str] = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return next(answers)

    with Serving() as server:
        dialer = Dialer(to=None)
        guarded = Client(Egress(schemes=("http",), ports=(server.port,)), resolve=rebinding, connect=dialer)
        with pytest.raises(AssertionError, match=PUBLIC):  # it would have gone there, and nowhere else
            guarded.send("GET", url(server))
    assert (asked, dialer.asked, server.requests) == ([HOST], [(PUBLIC, server.port)], [])


def test_case_114_who_is_at_the_other_end_is_judged_again() -> None:
    with Serving() as server:
        dialer = Dialer()  # a connector that leads a public address to loopback
        guarded = Client(Egress(schemes=("http",), ports=(server.port,)), resolve=Names(PUBLIC), connect=dialer)
        with pytest.raises(Blocked, match="not reached from here: loopback"):
            guarded.send("GET", url(server))
        assert dialer.asked == [(PUBLIC, server.port)]
    assert not any(server.requests)


def test_case_114_the_systems_resolver_is_one_call_and_the_connection_none(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real = socket.getaddrinfo

    def counted(host: str, *args: Any, **kwargs: Any) -> object:
        calls.append(host)
        return real(host, *args, **kwargs)

    with Serving() as server:
        monkeypatch.setattr(socket, "getaddrinfo", counted)
        policy = Egress(
            schemes=("http",),
            ports=(server.port,),
            allow_hosts=("localhost",),
            allow_networks=("127.0.0.0/8", "::1/128"),
        )
        assert Client(policy).send("GET", url(server, host="localhost")).status == 200
    assert calls == ["localhost"]
    assert set(lookup.system("localhost", 80)) <= {"127.0.0.1", "::1"}


def test_case_114_no_connection_is_kept_for_a_name_that_leads_elsewhere_by_then() -> None:
    with Serving(OK.replace(b"OK\r\n", b"OK\r\nConnection: keep-alive\r\n")) as server:
        names = Names("127.0.0.1")
        again = client(server, names=names)
        assert again.send("GET", url(server)).status == 200
        names.addresses = ("10.0.0.1",)
        with pytest.raises(Blocked):
            again.send("GET", url(server))
    assert (names.asked, len(server.requests)) == ([HOST, HOST], 1)


def test_case_114_of_several_addresses_the_next_one_is_tried_and_four_at_most() -> None:
    with Serving() as server:
        dialer = Dialer(to=None)
        several = Client(
            Egress(schemes=("http",), ports=(server.port,), allow_networks=("127.0.0.0/8",)),
            resolve=Names("127.0.0.2", "127.0.0.3", "127.0.0.1"), connect=dialer,
        )  # fmt: skip
        assert several.send("GET", url(server)).status == 200
        assert [address for address, _ in dialer.asked] == ["127.0.0.2", "127.0.0.3", "127.0.0.1"]
    with closed_port() as port:
        dialer = Dialer()
        many = Client(
            Egress(schemes=("http",), ports=(port,), allow_networks=("127.0.0.0/8",)),
            resolve=Names(*(f"127.0.0.{n}" for n in range(1, 50))), connect=dialer,
        )  # fmt: skip
        with pytest.raises(Unreachable, match="nobody answers") as failure:
            many.send("POST", url(port))
        assert (len(dialer.asked), failure.value.sent) == (4, False)


# -- 115: redirects --------------------------------------------------------------------


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_case_115_a_redirect_is_an_answer_and_is_not_followed(status: int) -> None:
    location = "Location: http://127.0.0.1:PORT/next\r\nRefresh: 0;url=/\r\nContent-Length: 0\r\n\r\n"
    with Serving(f"HTTP/1.1 {status} Go\r\n{location}".encode()) as server:
        response = get(server)
    assert (response.status, response.header("Location")) == (status, "http://127.0.0.1:PORT/next")
    assert len(server.requests) == 1


# -- 116, 117: floods and drips --------------------------------------------------------


def test_case_116_a_body_is_cut_at_its_bound() -> None:
    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    for answer in (flood, b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 200_000):
        with Serving(answer) as server:
            tracemalloc.start()
            response = get(server, max_bytes=100_000)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert (response.status, response.body, response.truncated) == (200, b"x" * 100_000, True)
        assert peak < 3_000_000, "bounded by what may be kept, not by what comes"


def test_case_116_a_body_of_exactly_its_bound_is_whole() -> None:
    for length, cut in ((1000, False), (1001, True)):
        with Serving(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + b"x" * length) as server:
            response = get(server, max_bytes=1000)
        assert (len(response.body), response.truncated) == (1000, cut)


def chunks(*parts: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(parts)


def forever(part: bytes) -> Answer:
    def answer(connection: socket.socket) -> None:
        connection.sendall(chunks())
        while True:
            connection.sendall(part * 500)

    return answer


def test_case_116_chunks_are_counted_with_their_frames() -> None:
    with Serving(chunks(b"5\r\nhello\r\n", b"3;x=y\r\nyou\r\n", b"0\r\n\r\n")) as server:
        assert get(server).body == b"helloyou"
    with Serving(forever(b"1\r\nx\r\n")) as server:
        response = get(server, max_bytes=20_000)
        assert (response.body, response.truncated) == (b"x" * 20_000, True)
    with (
        Serving(forever(b"1;" + b"y" * 1000 + b"\r\nx\r\n")) as server,
        pytest.raises(BadAnswer, match="more came") as failure,
    ):
        get(server, max_bytes=20_000)
    assert failure.value.sent


@pytest.mark.parametrize(
    "body",
    [b"zz\r\nx\r\n", b"-1\r\nx\r\n", b"fffffffffffffffffffffffff\r\nx", b"5\r\nhel", b"5\r\nhelloX\r\n0\r\n\r\n",
     b"1\r\nx\r\n", b"1" * 200_000],
    ids=["no number", "negative", "too large", "broken off", "no end", "no last one", "endless number"],
)  # fmt: skip
def test_case_116_chunks_that_are_none_are_no_answer(body: bytes) -> None:
    with Serving(chunks(body)) as server, pytest.raises((BadAnswer, Unreachable)) as failure:
        get(server)
    assert failure.value.sent


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "part",
    [b"X: y\r\n", b"X: " + b"y" * 5000 + b"\r\n", b"y" * 5000, b"HTTP/1.1 100 Continue\r\n\r\n",
     b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", b"\x00" * 1000],
    ids=["many headers", "long headers", "one endless line", "100 for ever", "103 for ever", "zeros"],
)  # fmt: skip
def test_case_116_a_flood_before_the_body_is_no_answer(part: bytes) -> None:
    def flood(connection: socket.socket) -> None:
        connection.sendall(b"" if part.startswith(b"HTTP") else HEAD)
        while True:
            connection.sendall(part)

    with Serving(flood) as server:
        started = time.monotonic()
        with pytest.raises(BadAnswer) as failure:
            get(server, timeout=20.0)
        assert time.monotonic() - started < 10
    assert failure.value.sent


@pytest.mark.parametrize(
    "answer",
    [b"", b"\r\n", b"hello", b"hello\r\n\r\n", b"<html>old</html>\n", b"HTTP/0.9 200 OK\r\n\r\n", b"HTTP/2 200\r\n\r\n",
     b"HTTP/1.1 99 X\r\n\r\n", b"HTTP/1.1 1000 X\r\n\r\n", b"HTTP/1.1 abc X\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nX\x00: y\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello",
     b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
     b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", b"HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", b"HTTP/1.1 101 Up\r\nUpgrade: x\r\n\r\n",
     b"SSH-2.0-OpenSSH_9.2\r\n", b"220 mail ESMTP\r\n", b"\x16\x03\x01\x02\x00\x01", b"* OK IMAP\r\n",
     b"-ERR unknown\r\n"],
    ids=ascii,
)  # fmt: skip
def test_case_116_what_is_no_http_is_no_answer(answer: bytes) -> None:
    with Serving(answer) as server, pytest.raises(BadAnswer) as failure:
        get(server)
    assert failure.value.sent


@pytest.mark.parametrize(
    "answer",
    [b"X-Token: %s\r\n\r\n", b"HTTP/1.1 200 OK\r\nbad line %s\r\n\r\n", b"HTTP/1.1 200 OK\r\n'\" %s\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n", b"HTTP/1.1 %s OK\r\n\r\n"],
)  # fmt: skip
def test_case_116_what_is_no_http_is_not_quoted_for_it_may_say_back_a_secret(answer: bytes) -> None:
    with Serving(answer % b"hunter2") as server, pytest.raises(BadAnswer) as failure:
        get(server)
    assert "hunter2" not in "".join(traceback.format_exception(failure.value))
    assert "illegal" in failure.value.message


def test_case_116_a_length_that_promises_less_is_taken_at_its_word() -> None:
    with Serving(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + OK * 3) as server:
        assert get(server).body == b"ok"
    with Serving(b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nhello") as server:
        assert get(server).body == b""
    with Serving(b"HTTP/1.1 200 OK\r\n\r\nuntil the end") as server:
        assert get(server).body == b"until the end"


def test_case_116_a_connection_that_is_reset_is_no_answer() -> None:
    def reset(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with Serving(reset) as server, pytest.raises(Unreachable, match=r"broke|disconnected") as failure:
        get(server)
    assert failure.value.sent


def test_case_116_an_answer_that_comes_before_the_request_has_been_read_counts() -> None:
    def early(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 413 Too large\r\nContent-Length: 0\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    with Serving(early, listens=False) as server:
        assert client(server).send("POST", url(server), body=b"x" * 1_000_000).status == 413


@pytest.mark.parametrize(
    ("first", "drips"),
    [(b"", b""), (b"", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 9), (HEAD, b"X: y\r\n"), (HEAD + b"\r\n", b"x"),
     (HEAD + b"Content-Length: 999\r\n\r\n", b"x"), (chunks(), b"1\r\nx\r\n"), (chunks() + b"f", b"f"),
     (b"", b"HTTP/1.1 100 Continue\r\n\r\n"), (chunks() + b"0\r\n", b"X: y\r\n")],
    ids=["silence", "status", "headers", "body", "body of a length", "chunks", "a chunk's number",
         "100", "trailers"],
)  # fmt: skip
def test_case_117_a_drip_ends_at_the_deadline(first: bytes, drips: bytes) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(first)
        server.drip(connection, drips) if drips else server.quit.wait(20)

    with Serving(drip) as server:
        failure = within(3, lambda: get(server, timeout=0.3))
    assert failure.sent
    assert ("its status is 200" in str(failure)) == (b"\r\n\r\n" in first)


def test_case_117_a_receiver_that_does_not_read_ends_at_the_deadline() -> None:
    def deaf(connection: socket.socket) -> None:
        server.quit.wait(20)

    with Serving(deaf, listens=False) as server:
        big = client(server, timeout=0.3, max_request_bytes=60_000_000)
        failure = within(3, lambda: big.send("POST", url(server), body=b"x" * 50_000_000))
    assert failure.sent


def test_case_117_a_connection_that_is_never_made_ends_at_the_deadline() -> None:
    def never(address: str, port: int, seconds: float) -> socket.socket:
        waits.append(seconds)
        time.sleep(seconds)
        raise TimeoutError

    waits: list[float] = []
    policy = Egress(timeout=0.3)
    hopeless = Client(policy, resolve=Names(PUBLIC, PUBLIC, PUBLIC), connect=never)
    failure = within(3, lambda: hopeless.send("POST", "https://hook.test/"))
    assert not failure.sent
    assert len(waits) == 3, "each address has its share"
    assert waits[0] < 0.11


def test_case_117_a_shorter_time_may_be_asked_for_and_a_longer_one_not() -> None:
    def silent(_: socket.socket) -> None:
        server.quit.wait(20)

    with Serving(silent) as server:
        within(3, lambda: client(server, timeout=5.0).send("GET", url(server), timeout=0.3))
        within(3, lambda: client(server, timeout=0.3).send("GET", url(server), timeout=60))


@pytest.mark.parametrize("silent", [True, False], ids=["silence", "drip"])
def test_case_117_a_handshake_ends_at_the_deadline(silent: bool, authority: Authority) -> None:
    def drip(connection: socket.socket) -> None:
        server.quit.wait(20) if silent else server.drip(
            connection, b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc" + b"\x03" * 16380
        )

    with Serving(drip, listens=False) as server:
        secure = client(server, tls=authority.trusting, timeout=0.3)
        failure = within(3, lambda: secure.send("GET", url(server, scheme="https")))
    assert not failure.sent, "a handshake is not the request"


# -- 118: names in TLS -----------------------------------------------------------------


def test_case_118_the_certificate_is_that_of_the_urls_name(authority: Authority) -> None:
    with Serving(tls=authority.server(HOST)) as server:
        secure = client(server, tls=authority.trusting)
        assert secure.send("GET", url(server, scheme="https")).body == b"ok"
        for other in ("other.test", "a.hook.test", "127.0.0.1"):
            with pytest.raises(Unreachable, match="no TLS with") as failure:
                secure.send("POST", url(server, host=other, scheme="https"))
            assert not failure.value.sent
    assert len(server.requests) == 1


def test_case_118_an_address_in_the_url_needs_a_certificate_of_that_address(authority: Authority) -> None:
    with Serving(tls=authority.server("127.0.0.1")) as server:
        secure = client(server, tls=authority.trusting)
        assert secure.send("GET", url(server, host="127.0.0.1", scheme="https")).status == 200
        with pytest.raises(Unreachable):
            secure.send("GET", url(server, scheme="https"))


def certificates(authority: Authority) -> Iterator[tuple[str, ssl.SSLContext]]:
    now = dt.datetime.now(dt.UTC)
    yield "expired", authority.server(HOST, not_before=now - 2 * AN_HOUR, not_after=now - AN_HOUR)
    yield "not yet", authority.server(HOST, not_before=now + AN_HOUR, not_after=now + 2 * AN_HOUR)
    yield "by another authority", Authority().server(HOST)
    yield "by its common name alone", authority.server("other.test", common_name=HOST)
    yield "for a wildcard above", authority.server("*.test.example")


def test_case_118_a_certificate_that_is_not_good_is_not_taken(authority: Authority) -> None:
    for why, context in certificates(authority):
        with Serving(tls=context) as server:
            with pytest.raises(Unreachable, match=f"no TLS with {HOST}") as failure:
                client(server, tls=authority.trusting).send(
                    "POST", url(server, scheme="https"), {"X-Secret": "hunter2"}
                )
            assert not failure.value.sent
        assert (why, server.requests) == (why, [])


def test_case_118_by_default_the_systems_authorities_are_trusted_and_no_others(authority: Authority) -> None:
    with Serving(tls=authority.server(HOST)) as server:
        policy = Egress(ports=(server.port,), allow_networks=("127.0.0.0/8",))
        default = Client(policy, resolve=Names("127.0.0.1"), connect=Dialer(to=None))
        for one in (default, default.under(policy)):
            with pytest.raises(Unreachable, match="no TLS"):
                one.send("GET", url(server, scheme="https"))
    assert server.requests == []


def test_case_118_who_speaks_no_tls_or_an_old_one_gets_nothing(authority: Authority) -> None:
    old = authority.server(HOST)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    for server in (Serving(OK, listens=False), Serving(tls=old)):
        with server, pytest.raises(Unreachable, match="no TLS") as failure:
            client(server, tls=authority.trusting).send("GET", url(server, scheme="https"))
        assert not failure.value.sent
        assert not any(server.requests)


# -- 120, 121, 123: the environment, headers, encodings --------------------------------


def test_case_120_the_environments_proxies_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with Serving() as proxy, Serving() as server:
        for name in ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv(name.upper(), f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        assert get(server).status == 200
    assert (len(server.requests), proxy.requests) == (1, [])
    assert server.requests[0].startswith(b"GET / HTTP/1.1\r\n"), "the path alone, as to no proxy"


@pytest.mark.parametrize(
    ("name", "value"),
    [("X", "a\r\nY: b"), ("X", "a\nb"), ("X", "a\rb"), ("X", "a\x00b"), ("X", "a\tb"), ("X", "\x7f"), ("X", "\x1b[0m"),
     ("X", " a"), ("X", "a "), ("X", "ä"), ("X", "a\u2028b"), ("X", "\udc80"), ("X: y\r\nZ", "a"), ("X ", "a"), (" X",
     "a"),
     ("", "a"), ("X\x00", "a"), ("Ä", "a"), ("X:", "a"), ("x" * 101, "a"), ("X(", "a"), (":authority", "a")],
    ids=ascii,
)  # fmt: skip
def test_case_121_a_header_with_a_character_that_none_has_is_refused(name: str, value: str) -> None:
    names = Names(PUBLIC)
    with pytest.raises(Blocked) as refused:
        Client(Egress(), resolve=names).send("GET", "https://hook.test/", {"X-First": "good", name: value})
    assert refused.value.cure
    assert len(value) < 3 or value not in str(refused.value), "it may be a secret"
    assert names.asked == [], "before anything is looked up"


@pytest.mark.parametrize(
    "name",
    ["Host", "host", "Content-Length", "Transfer-Encoding", "Connection", "TE", "Trailer", "Upgrade", "Expect",
     "Keep-Alive",
     "Accept-Encoding", "Proxy-Authorization", "Proxy-Connection", "Proxy-Anything", "HTTP2-Settings"],
)  # fmt: skip
def test_case_121_headers_that_say_where_a_message_ends_are_ours(name: str) -> None:
    with pytest.raises(Blocked, match="not yours to set"):
        Client(Egress(), resolve=Names(PUBLIC)).send("POST", "https://hook.test/", {name: "chunked"})


def test_case_121_headers_have_their_bounds() -> None:
    for headers in (
        {"X": "a", "x": "b"},
        {f"X-{number}": "a" for number in range(MOST_HEADERS + 1)},
        {"X": "a" * 33_000},
        {f"X-{number}": "a" * 1000 for number in range(33)},
    ):
        with pytest.raises(Blocked):
            Client(Egress(), resolve=Names(PUBLIC)).send("GET", "https://hook.test/", headers)


def test_case_123_nothing_is_decoded() -> None:
    bomb = gzip.compress(b"\x00" * 100_000_000)
    for encoding in (b"gzip", b"deflate", b"br", b"gzip, gzip"):
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (encoding, len(bomb))
        with Serving(head + bomb) as server:
            tracemalloc.start()
            response = get(server)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert (response.body, response.header("content-encoding")) == (bomb, encoding.decode())
        assert b"Accept-Encoding: identity\r\n" in server.requests[0]
        assert peak < 2_000_000


# -- many at a time, and by machines that are short of something -----------------------


def test_requests_of_many_threads_do_not_meet() -> None:
    with Serving() as server:
        one = client(server)
        results: list[int] = []

        def ask() -> None:
            results.extend(one.send("GET", url(server)).status for _ in range(20))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [200] * 160
    assert len(server.requests) == 160


def test_no_socket_is_left_open() -> None:
    made: list[socket.socket] = []

    def kept(address: str, port: int, seconds: float) -> socket.socket:
        made.append(wire.direct(address, port, seconds))
        return made[-1]

    for answer in (OK, b"nonsense\r\n\r\n", b"HTTP/1.1 101 Up\r\nUpgrade: x\r\n\r\n", HEAD + b"\r\n" + b"x" * 100_000):
        with Serving(answer) as server:
            policy = Egress(schemes=("http",), ports=(server.port,), allow_networks=("127.0.0.0/8",), max_bytes=10)
            one = Client(policy, resolve=Names("127.0.0.1"), connect=kept)
            with suppress(BadAnswer):
                one.send("GET", url(server))
    assert [connection.fileno() for connection in made] == [-1] * 4


def test_no_connection_is_made_to_where_nobody_listens() -> None:
    with closed_port() as port, pytest.raises(Unreachable, match=r"nobody answers at http://hook\.test") as failure:
        client(port).send("POST", url(port, path="/secret/path?token=hunter2"))
    assert not failure.value.sent
    assert "127.0.0.1" not in failure.value.message, "where a name of the inside leads to is not a tenant's to read"
    assert "hunter2" not in str(failure.value)
