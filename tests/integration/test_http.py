"""Outbound HTTP against servers on this machine (engine/adapters/http.py, design.md §7)."""

from __future__ import annotations

import gzip
import io
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.adapters import http_guard
from engine.adapters.http import OutboundHttp
from engine.adapters.http_guard import AddressGuard
from engine.errors import StepError

MAX = 1_000_000


class Handler(BaseHTTPRequestHandler):
    """Answers by path; /echo tells what arrived."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def _received(self) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def _reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _any(self) -> None:
        received = self._received()
        parts = urlsplit(self.path)
        query = parse_qs(parts.query, keep_blank_values=True)
        if parts.path == "/echo":
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen = {"method": self.command, "path": self.path, "headers": headers, "port": self.client_address[1]}
            seen["body"] = received.decode("latin-1")
            self._reply(200, json.dumps(seen).encode(), Content_Type="application/json", X_Two="a")
        elif parts.path == "/to":
            self._reply(int(query["status"][0]), b"moved", Location=query["url"][0])
        elif parts.path == "/loop":
            self._reply(302, Location=f"/loop?{int(parts.query or 0) + 1}")
        elif parts.path == "/size":
            self._reply(200, b"x" * int(parts.query))
        elif parts.path == "/endless":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"400\r\n" + b"y" * 1024 + b"\r\n")
            except OSError:
                self.close_connection = True
        elif parts.path == "/bomb":
            self._reply(200, gzip.compress(b"0" * 20_000_000), Content_Encoding="gzip")
        elif parts.path == "/gzip":
            self._reply(200, gzip.compress(b"unpacked"), Content_Encoding="gzip")
        elif parts.path == "/notgzip":
            self._reply(200, b"plain text", Content_Encoding="gzip")
        else:
            self._reply(404, b"nothing here")

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _any  # noqa: N815


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None: ...  # clients of these tests hang up on purpose


@pytest.fixture
def server() -> Iterator[str]:
    with QuietServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()
        thread.join()


@pytest.fixture
def http() -> OutboundHttp:
    return OutboundHttp(("127.0.0.1", "localhost"), MAX)


@pytest.fixture
def strict() -> OutboundHttp:
    return OutboundHttp((), MAX)


@contextmanager
def raw_server(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that does as the function says with its first connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        try:
            connection, _ = listener.accept()
            with connection:
                serve(connection)
        except OSError:
            return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        thread.join(5)
        listener.close()


def code_of(call: Callable[[], Any]) -> str:
    with pytest.raises(StepError) as caught:
        call()
    return caught.value.code


# -- requests and answers


def test_what_is_sent_arrives(http: OutboundHttp, server: str) -> None:
    answer = http.request(
        "post",
        f"{server}/echo?a=1#part",
        headers={"X-Own": "yes", "Content-Type": "text/plain", "Content-Length": "999", "Transfer-Encoding": "chunked"},
        params={"list": ["x", "y z"], "none": None, "flag": True, "n": 1.5, "ü&": "=/"},
        body="häuser".encode(),
    )
    seen = answer.json()
    assert (answer.status, seen["method"], seen["body"].encode("latin-1").decode()) == (200, "POST", "häuser")
    assert seen["path"] == "/echo?a=1&list=x&list=y%20z&flag=true&n=1.5&%C3%BC%26=%3D%2F"
    assert seen["headers"]["x-own"] == "yes"
    assert seen["headers"]["content-length"] == "7"
    assert seen["headers"]["user-agent"] == "Headrace"
    assert answer.headers["content-type"] == "application/json"
    assert answer.url == f"{server}/echo?a=1&list=x&list=y%20z&flag=true&n=1.5&%C3%BC%26=%3D%2F"


def test_any_status_is_an_answer(http: OutboundHttp, server: str) -> None:
    answer = http.request("GET", f"{server}/absent")
    assert (answer.status, answer.text) == (404, "nothing here")


def test_head_and_compressed_answers(http: OutboundHttp, server: str) -> None:
    answer = http.request("HEAD", f"{server}/size?{MAX * 2}")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", str(MAX * 2))
    assert http.request("GET", f"{server}/gzip").body == b"unpacked"
    assert code_of(lambda: http.request("GET", f"{server}/notgzip")) == "EPROTO"


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "5"}])
def test_a_file_as_body(http: OutboundHttp, server: str, headers: dict[str, str]) -> None:
    seen = http.request("PUT", f"{server}/echo", headers=headers, body=io.BytesIO(b"bytes")).json()
    assert seen["body"] == "bytes"


def test_connections_are_kept(http: OutboundHttp, server: str) -> None:
    ports = set()
    for _turn in range(3):
        ports.add(http.request("GET", f"{server}/echo").json()["port"])
        with http.stream("GET", f"{server}/echo") as (_, chunks):
            ports.add(json.loads(b"".join(chunks))["port"])
    assert len(ports) == 1


def test_many_threads_share_one_client(http: OutboundHttp, server: str) -> None:
    wrong: list[str] = []

    def call(number: int) -> None:
        for turn in range(20):
            text = f"{number}-{turn}"
            if http.request("POST", f"{server}/echo", body=text.encode()).json()["body"] != text:
                wrong.append(text)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_credentials_in_the_address_become_a_header(http: OutboundHttp, server: str) -> None:
    address = server.replace("http://", "http://us%40er:p%3Ass@") + "/echo"
    answer = http.request("GET", address)
    assert answer.json()["headers"]["authorization"] == "Basic dXNAZXI6cDpzcw=="
    assert "@" not in answer.url
    own = http.request("GET", address, headers={"authorization": "Bearer t"}).json()
    assert own["headers"]["authorization"] == "Bearer t"


@pytest.mark.parametrize(
    "headers",
    [{"X": "a\r\nEvil: 1"}, {"X": "a\nb"}, {"X\r\nEvil": "1"}, {"": "1"}, {"X Y": "1"}, {"X": "a\0"}, {"X": "€"}],
)
def test_headers_cannot_inject(http: OutboundHttp, server: str, headers: dict[str, str]) -> None:
    assert code_of(lambda: http.request("GET", f"{server}/echo", headers=headers)) == "EINVAL"


def test_paths_and_methods_cannot_inject(http: OutboundHttp, server: str) -> None:
    seen = http.request("GET", f"{server}/echo?a=1\r\nEvil: 1\r\n\r\n").json()
    assert "evil" not in seen["headers"]
    assert code_of(lambda: http.request("GET / HTTP/1.1\r\nEvil: 1", server)) == "EINVAL"


@pytest.mark.parametrize(
    "url",
    [
        *("", "example.com/x", "ftp://example.com/", "file:///etc/passwd", "http://", "http:///x", "http://a b/"),
        *("http://[::1", "http://127.0.0.1:port/", "gopher://127.0.0.1/", "//127.0.0.1/", "http://127.0.0.1:99999/"),
    ],
)
def test_addresses_that_cannot_be_called(http: OutboundHttp, url: str) -> None:
    assert code_of(lambda: http.request("GET", url)) == "EINVAL"


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=30))
def test_any_address_gives_a_step_error(strict: OutboundHttp, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    Names(monkeypatch)
    for url in (text, f"http://127.0.0.1{text}", f"http://{text}@127.0.0.1/", f"http://{text}/", f"https://a/{text}"):
        with pytest.raises(StepError):
            strict.request("GET", url, timeout=0.5)


# -- redirects


@pytest.mark.parametrize(
    ("status", "method", "then", "keeps"),
    [
        (301, "POST", "GET", False),
        (302, "POST", "GET", False),
        (303, "POST", "GET", False),
        (303, "PUT", "GET", False),
        (303, "HEAD", "HEAD", False),
        (301, "PUT", "PUT", True),
        (307, "POST", "POST", True),
        (308, "PATCH", "PATCH", True),
    ],
)
def test_redirects_change_the_method_as_browsers_do(
    http: OutboundHttp, server: str, status: int, method: str, then: str, keeps: bool
) -> None:
    body = io.BytesIO(b"--load") if method != "HEAD" else None
    if body:
        body.read(2)  # a body begins where the file stands
    answer = http.request(
        method, f"{server}/to?status={status}&url=/echo", headers={"Content-Type": "text/plain"}, body=body
    )
    assert (answer.status, answer.url) == (200, f"{server}/echo")
    if then != "HEAD":
        seen = answer.json()
        assert (seen["method"], seen["body"]) == (then, "load" if keeps else "")
        assert ("content-type" in seen["headers"]) is keeps


def test_a_body_that_cannot_be_repeated(http: OutboundHttp, server: str) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.left = [b"once"]

        def readable(self) -> bool:
            return True

        def read(self, _size: int = -1) -> bytes:
            return self.left.pop() if self.left else b""

    body: Any = Pipe()
    assert code_of(lambda: http.request("PUT", f"{server}/to?status=307&url=/echo", body=body)) == "EINVAL"


def test_redirects_are_bounded_and_may_be_refused(http: OutboundHttp, server: str) -> None:
    assert code_of(lambda: http.request("GET", f"{server}/loop")) == "ERR_TOO_MANY_REDIRECTS"
    answer = http.request("GET", f"{server}/to?status=302&url=/echo", follow=False)
    assert (answer.status, answer.body, answer.headers["location"]) == (302, b"moved", "/echo")


def test_secrets_stay_with_their_origin(http: OutboundHttp, server: str) -> None:
    headers = {"Authorization": "Bearer t", "cookie": "a=b", "X-Other": "kept"}
    here = http.request("GET", f"{server}/to?status=302&url=/echo", headers=headers).json()["headers"]
    assert (here["authorization"], here["cookie"]) == ("Bearer t", "a=b")
    elsewhere = server.replace("127.0.0.1", "localhost")
    there = http.request("GET", f"{server}/to?status=302&url={elsewhere}/echo", headers=headers).json()["headers"]
    assert not {"authorization", "cookie"} & set(there)
    assert there["x-other"] == "kept"


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("http://127.0.0.2/", "EACCES"),
        ("http://169.254.169.254/latest/meta-data", "EACCES"),
        ("http://[::1]/", "EACCES"),
        ("file:///etc/passwd", "EINVAL"),
        ("ftp://127.0.0.1/", "EINVAL"),
    ],
)
def test_redirects_are_checked_like_addresses(http: OutboundHttp, server: str, target: str, code: str) -> None:
    assert code_of(lambda: http.request("GET", f"{server}/to?status=302&url={target}")) == code


# -- addresses


def test_a_private_address_is_refused_with_a_way_out(server: str) -> None:
    with pytest.raises(StepError) as caught:
        OutboundHttp((), MAX).request("GET", f"{server}/echo?token=secret")
    assert caught.value.code == "EACCES"
    assert caught.value.retry_hint is False
    assert "127.0.0.1" in caught.value.message
    assert "HEADRACE_HTTP_ALLOW" in caught.value.message
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost", "LOCALHOST."])
def test_other_spellings_of_this_machine_are_refused(host: str) -> None:
    assert code_of(lambda: OutboundHttp((), MAX).request("GET", f"http://{host}:9/")) in ("EACCES", "ENOTFOUND")


@pytest.mark.parametrize("allow", ["127.0.0.1", "127.0.0.0/8", "localhost", "LOCALHOST"])
def test_the_allow_list(server: str, allow: str) -> None:
    host = "localhost" if "local" in allow.lower() else "127.0.0.1"
    answer = OutboundHttp((allow,), MAX).request("GET", f"{server.replace('127.0.0.1', host)}/echo")
    assert answer.status == 200


BLOCKED = (
    "0.0.0.0 10.1.2.3 100.64.0.1 127.0.0.1 127.255.0.9 169.254.169.254 172.16.0.1 172.31.9.9 192.0.2.1 192.168.0.1 "
    "198.18.0.1 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 :: ::1 fc00::1 fd12::1 fe80::1 fe80::1%1 ff02::1 "
    "::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 64:ff9b::7f00:1 64:ff9b::a00:1 2002:7f00:1:: 2002:a00:1:: "
    "::127.0.0.1 2001:db8::1 2001:0:0:0:0:0:80ff:fffe"
)
OPEN = "1.1.1.1 8.8.8.8 93.184.216.34 172.32.0.1 2606:4700::1111 ::ffff:8.8.8.8 64:ff9b::808:808"


@pytest.mark.parametrize("address", BLOCKED.split())
def test_blocked(address: str) -> None:
    assert not AddressGuard(()).permits("x.example", address)


@pytest.mark.parametrize("address", OPEN.split())
def test_open(address: str) -> None:
    assert AddressGuard(()).permits("x.example", address)


def test_the_allow_list_opens_no_more_than_it_says() -> None:
    guard = AddressGuard(("10.1.0.0/16", "[fd00::5]", "db.internal", "bücher.example"))
    assert guard.permits("any", "10.1.255.9")
    assert guard.permits("any", "::ffff:10.1.0.1")
    assert guard.permits("any", "fd00::5")
    assert guard.permits("DB.internal.", "192.168.1.1")
    assert guard.permits("xn--bcher-kva.example", "192.168.1.1")
    assert not guard.permits("any", "10.2.0.1")
    assert not guard.permits("any", "fd00::6")
    assert not guard.permits("sub.db.internal", "192.168.1.1")
    assert not guard.permits("db.internal.example", "192.168.1.1")


class Names:
    """A resolver that answers as told, counting the questions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **names: list[list[str]]) -> None:
        self.names = names
        self.asked: list[str] = []
        monkeypatch.setattr(socket, "getaddrinfo", self.resolve)

    def resolve(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked.append(host)
        answers = self.names.get(host.split(".", maxsplit=1)[0].replace("-", "_"))
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in addresses
        ]


def test_the_checked_address_is_the_one_connected_to(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the second answer is never asked for."""
    names = Names(monkeypatch, rebind=[["127.0.0.1"], ["10.0.0.1"]], reverse=[["10.0.0.1"], ["127.0.0.1"]])
    http = OutboundHttp(("127.0.0.1",), MAX)
    port = server.rsplit(":", 1)[1]
    seen = http.request("GET", f"http://rebind.example:{port}/echo").json()
    assert seen["headers"]["host"] == f"rebind.example:{port}"
    assert code_of(lambda: http.request("GET", f"http://reverse.example:{port}/echo")) == "EACCES"
    assert names.asked == ["rebind.example", "reverse.example"]


def test_a_name_with_good_and_bad_addresses_uses_the_good(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, both=[["10.0.0.1", "127.0.0.1"]])
    port = server.rsplit(":", 1)[1]
    assert OutboundHttp(("127.0.0.1",), MAX).request("GET", f"http://both.example:{port}/echo").status == 200


def test_hosts_outside_ascii(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch, xn__bcher_kva=[["127.0.0.1"]])
    port = server.rsplit(":", 1)[1]
    answer = OutboundHttp(("127.0.0.1",), MAX).request("GET", f"http://bücher.example:{port}/echo")
    assert answer.json()["headers"]["host"] == f"xn--bcher-kva.example:{port}"
    assert names.asked == ["xn--bcher-kva.example"]


def test_an_unknown_host(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch)
    with pytest.raises(StepError, match=r"nowhere\.example") as caught:
        OutboundHttp((), MAX).request("GET", "http://nowhere.example/")
    assert caught.value.code == "ENOTFOUND"
    assert caught.value.retry_hint is None


# -- limits and faults


def test_an_answer_larger_than_allowed(http: OutboundHttp, server: str) -> None:
    assert len(http.request("GET", f"{server}/size?{MAX}").body) == MAX
    assert code_of(lambda: http.request("GET", f"{server}/size?{MAX + 1}")) == "EMSGSIZE"
    assert code_of(lambda: http.request("GET", f"{server}/size?11", max_bytes=10)) == "EMSGSIZE"
    assert code_of(lambda: http.request("GET", f"{server}/size?{MAX + 1}", max_bytes=MAX * 2)) == "EMSGSIZE"
    with pytest.raises(StepError, match="HEADRACE_HTTP_MAX_BYTES"):
        http.request("GET", f"{server}/endless")
    assert code_of(lambda: http.request("GET", f"{server}/bomb")) == "EMSGSIZE"


def test_stream(http: OutboundHttp, server: str) -> None:
    with http.stream("GET", f"{server}/to?status=302&url=/size?300000") as (head, chunks):
        assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "300000")
        sizes = [len(chunk) for chunk in chunks]
    assert (sum(sizes), max(sizes) <= 65536) == (300_000, True)
    with http.stream("GET", f"{server}/endless") as (_, chunks):
        assert next(chunks)
    with http.stream("GET", f"{server}/bomb") as (_, chunks), pytest.raises(StepError, match="larger"):
        list(chunks)


def test_a_refused_connection(http: OutboundHttp) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(StepError, match=f"127.0.0.1:{port} refused") as caught:
            http.request("GET", f"http://127.0.0.1:{port}/")
    assert caught.value.code == "ECONNREFUSED"


def receive_request(connection: socket.socket) -> None:
    while not connection.recv(65536).endswith(b"\r\n\r\n"):
        continue


def drip(connection: socket.socket, start: bytes, piece: bytes) -> None:
    receive_request(connection)
    connection.sendall(start)
    connection.settimeout(0.05)
    for _ in range(400):
        connection.sendall(piece)
        try:
            if not connection.recv(1):  # also the pause between two pieces
                return
        except TimeoutError:
            continue


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"", b""),
        (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"a"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    ],
)
def test_the_time_limit_covers_every_part_of_an_answer(http: OutboundHttp, start: bytes, piece: bytes) -> None:
    """Each byte comes in time; all of them do not."""
    with raw_server(lambda connection: drip(connection, start, piece)) as url:
        assert code_of(lambda: http.request("GET", url, timeout=0.3)) == "ESOCKETTIMEDOUT"


def test_a_stream_may_take_longer_than_its_time_limit_but_not_stall(
    http: OutboundHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Semaphore(0)
    passed = [0.0]
    monkeypatch.setattr(http_guard, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + passed[0]))

    def serve(connection: socket.socket) -> None:
        receive_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
        while asked.acquire(timeout=5):
            connection.sendall(b"a")

    with raw_server(serve) as url, http.stream("GET", url, timeout=0.5) as (_, chunks):
        for _turn in range(4):
            passed[0] += 100
            asked.release()
            assert next(chunks) == b"a"
        with pytest.raises(StepError) as caught:
            next(chunks)
        asked.release(4)
    assert caught.value.code == "ESOCKETTIMEDOUT"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", "ECONNRESET"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "ECONNRESET"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal", "ECONNRESET"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "ECONNRESET"),
        (b"hello there\r\n\r\n", "EPROTO"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n", "EPROTO"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", "EPROTO"),
    ],
)
def test_broken_answers(http: OutboundHttp, answer: bytes, code: str) -> None:
    def serve(connection: socket.socket) -> None:
        receive_request(connection)
        connection.sendall(answer)

    with raw_server(serve) as url:
        assert code_of(lambda: http.request("GET", url)) == code


def test_messages_do_not_show_queries_or_passwords(http: OutboundHttp) -> None:
    with raw_server(lambda connection: receive_request(connection)) as url, pytest.raises(StepError) as caught:
        http.request("GET", url.replace("http://", "http://me:hidden@") + "/path?key=hidden")
    assert "/path" in caught.value.message
    assert "hidden" not in caught.value.message


# -- TLS


def certificate(folder: Path, *, name: str = "127.0.0.1", days: int = 30) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    alternative = x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "certificate.pem"
    pem.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


@contextmanager
def tls_server(context: ssl.SSLContext) -> Iterator[str]:
    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            receive_request(secure)
            secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
            secure.sendall(b"sa")
            secure.sendall(b"fe")

    with raw_server(serve) as url:
        yield url.replace("http://", "https://")


def trusting(folder: Path, monkeypatch: pytest.MonkeyPatch) -> OutboundHttp:
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "certificate.pem"))
    return OutboundHttp(("127.0.0.1",), MAX)


def test_a_certificate_nobody_vouches_for(http: OutboundHttp, tmp_path: Path) -> None:
    self_signed = pytest.raises(StepError, match="certificate is self-signed")
    with tls_server(certificate(tmp_path)) as url, self_signed as caught:
        http.request("GET", url)
    assert (caught.value.code, caught.value.retry_hint) == ("CERT_SELF_SIGNED", False)


@pytest.mark.parametrize(
    ("options", "code"),
    [({"days": -1}, "CERT_HAS_EXPIRED"), ({"name": "other.example"}, "CERT_NAME_MISMATCH")],
)
def test_other_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], code: str
) -> None:
    context = certificate(tmp_path, **options)
    with tls_server(context) as url:
        assert code_of(lambda: trusting(tmp_path, monkeypatch).request("GET", url)) == code


def test_a_trusted_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tls_server(certificate(tmp_path)) as url:
        assert trusting(tmp_path, monkeypatch).request("GET", url).body == b"safe"


def test_the_time_limit_holds_in_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = certificate(tmp_path)

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            drip(secure, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"a")

    with raw_server(serve) as url:
        secure_url = url.replace("http://", "https://")
        call = lambda: trusting(tmp_path, monkeypatch).request("GET", secure_url, timeout=0.5)  # noqa: E731
        assert code_of(call) == "ESOCKETTIMEDOUT"


def test_plain_http_where_tls_is_meant(http: OutboundHttp, server: str) -> None:
    assert code_of(lambda: http.request("GET", server.replace("http://", "https://"))) == "EPROTO"


def test_resolve_gives_an_allowed_address() -> None:
    assert OutboundHttp(("127.0.0.1",), 1000).resolve("127.0.0.1", 21) == "127.0.0.1"
    with pytest.raises(StepError) as caught:
        OutboundHttp((), 1000).resolve("127.0.0.1", 21)
    assert caught.value.code == "EACCES"
