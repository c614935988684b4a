"""Bodies of webhook calls: limits, parsing, and whatever hostile senders make up (webapp/webhook_body.py)."""

from __future__ import annotations

import io
from typing import IO, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadRequest, TooLarge
from engine.services.webhooks import Upload
from webapp.webhook_body import FIELDS, FILES, json_or_text, parse, parse_query, read_body

LIMIT, UPLOADS = 1_000_000, 3_000_000


def environ(body: bytes, kind: str = "", **more: Any) -> dict[str, Any]:
    return {"CONTENT_TYPE": kind, "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body), **more}


def receive(body: bytes, kind: str = "", **more: Any) -> Any:
    """The data, its files as (name, type, content)."""
    given_ = environ(body, kind, **more)
    opened: list[IO[bytes]] = []
    try:
        data, files = parse(read_body(given_, LIMIT, UPLOADS, opened), given_, LIMIT, opened)
        return seen(data) if files else data
    finally:
        for stream in opened:
            stream.close()


def seen(data: Any) -> Any:
    if isinstance(data, dict):
        return {name: seen(value) for name, value in data.items()}
    if isinstance(data, list):
        return [seen(value) for value in data]
    return (data.filename, data.content_type, data.content.read()) if isinstance(data, Upload) else data


def form(*parts: bytes, end: bytes = b"--X--\r\n") -> bytes:
    return b"".join(b"--X\r\n" + part + b"\r\n" for part in parts) + end


def field(name: str, value: bytes) -> bytes:
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value


def file(name: str, filename: str, kind: str, value: bytes) -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"; filename="{filename}"\r\nContent-Type: {kind}\r\n\r\n'
    return head.encode() + value


MULTIPART = "multipart/form-data; boundary=X"
DEEP = 300

PARSED: list[tuple[str, bytes, Any]] = [
    ("", b"", {}),
    ("application/json", b"", {}),
    ("image/png", b"", {}),
    ("application/json", b'{"a": 1}', {"a": 1}),
    ("application/json; charset=utf-8", b"[1]", [1]),
    ("APPLICATION/JSON", b'"x"', "x"),
    ("application/cloudevents+json", b'{"a": 1}', {"a": 1}),
    ("application/json", b"{broken", "{broken"),
    ("application/json", b'{"a": NaN, "b": 1e999, "c": -Infinity}', {"a": "NaN", "b": "1e999", "c": "-Infinity"}),
    ("application/json", b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
    ("application/json", b'"\\ud800"', '"\\ud800"'),
    ("application/json", b"\xff\xfe", "\ufffd\ufffd"),
    ("application/json", b"[" * DEEP + b"]" * DEEP, "[" * DEEP + "]" * DEEP),
    ("application/json", b"[" * 100_000, "[" * 100_000),
    ("application/json", b'{"a":' * 150 + b"1" + b"}" * 150, orjson.loads(b'{"a":' * 150 + b"1" + b"}" * 150)),
    ("", b'{"a": 1}', {"a": 1}),
    ("", b"plain", "plain"),
    ("text/plain", b'{"a": 1}', '{"a": 1}'),
    ("text/plain; charset=iso-8859-1", b"\xe4", "ä"),
    ("text/plain; charset=zlib", b"\xc3\xa4", "ä"),
    ("text/plain; charset=idna", b"x" * 10, "x" * 10),
    ("text/plain", b"\xe4", "\ufffd"),
    ("application/xml", b"<a/>", "<a/>"),
    ("application/x-www-form-urlencoded", b"a=1&b=2&b=3&c=", {"a": "1", "b": ["2", "3"], "c": ""}),
    ("application/x-www-form-urlencoded", b"a=%zz&%=%ff&b=%C3%A4", {"a": "%zz", "%": "\ufffd", "b": "ä"}),
    (MULTIPART, form(field("a", b"1"), field("b", b"2"), field("b", b"3")), {"a": "1", "b": ["2", "3"]}),
    (MULTIPART, form(field("a", b"\xff")), {"a": "\ufffd"}),
]


@pytest.mark.parametrize(("kind", "body", "data"), PARSED, ids=range(len(PARSED)))
def test_what_comes_of_a_body(kind: str, body: bytes, data: Any) -> None:
    assert receive(body, kind) == data
    orjson.dumps(data)


def test_binary_bodies_become_files() -> None:
    assert receive(b"\x89PNG", "image/png") == ("body.png", "image/png", b"\x89PNG")
    assert receive(b"\0\1", "application/octet-stream")[2] == b"\0\1"
    assert receive(b"\xff\0", "") == ("body.bin", "application/octet-stream", b"\xff\0")
    named = receive(b"%PDF", "application/pdf", HTTP_CONTENT_DISPOSITION='attachment; filename="../../bill.pdf"')
    assert named[0] == "../../bill.pdf"  # made safe where it is stored


def test_files_of_a_form() -> None:
    body = form(field("n", b"1"), file("f", "a.csv", "text/csv", b"a,b\r\n1,2"), file("f", "", "x", b""),
                file("g", "\u00e4.bin", "application/octet-stream", bytes(range(256))))  # fmt: skip
    data = receive(body, MULTIPART)
    assert data["n"] == "1"
    assert data["f"] == [("a.csv", "text/csv", b"a,b\r\n1,2"), ("file", "x", b"")]
    assert data["g"][2] == bytes(range(256))


BROKEN: list[tuple[str, bytes]] = [
    ("multipart/form-data", form(field("a", b"1"))),
    ("multipart/form-data; boundary=", form(field("a", b"1"))),
    ("multipart/form-data; boundary=\u00fc", form(field("a", b"1"))),
    (f"multipart/form-data; boundary={'x' * 500}", form(field("a", b"1"))),
    (MULTIPART, form(field("a", b"1"), end=b"")),
    (MULTIPART, b"--X\r\nContent-Disposition: form-data; name=a"),
    (MULTIPART, b"nothing of the kind"),
    (MULTIPART, b"--Y\r\n" + field("a", b"1") + b"\r\n--Y--"),
    (MULTIPART, form(b"No-Disposition: x\r\n\r\n1")),
]


@pytest.mark.parametrize(("kind", "body"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_form_is_refused(kind: str, body: bytes) -> None:
    with pytest.raises(BadRequest, match="multipart form"):
        receive(body, kind)


def test_limits() -> None:
    with pytest.raises(TooLarge, match="1000001 bytes; a webhook takes at most 1000000"):
        receive(b"x" * (LIMIT + 1), "text/plain")
    with pytest.raises(TooLarge, match="3000000"):
        receive(b"x" * (UPLOADS + 1), "image/png")
    assert len(receive(b"x" * UPLOADS, "image/png")[2]) == UPLOADS
    assert receive(form(file("f", "a", "a/b", b"x" * 2_000_000)), MULTIPART)["f"][2] == b"x" * 2_000_000
    with pytest.raises(TooLarge, match="outside of files"):
        receive(form(field("f", b"x" * (LIMIT + 1))), MULTIPART)
    with pytest.raises(TooLarge, match=str(FIELDS)):
        receive(form(*(field("f", b"") for _ in range(FIELDS + 1))), MULTIPART)
    with pytest.raises(TooLarge, match=str(FILES)):
        receive(form(*(file("f", "a", "a/b", b"") for _ in range(FILES + 1))), MULTIPART)
    with pytest.raises(BadRequest, match=str(FIELDS)):
        receive(b"a&" * (FIELDS + 1) + b"a", "application/x-www-form-urlencoded")
    with pytest.raises(BadRequest, match="query"):
        parse_query("a=1&" * (FIELDS + 1), "query")


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "²", "9" * 16, "5, 5", "+5", " 5"])
def test_a_wrong_content_length(length: str) -> None:
    with pytest.raises(BadRequest, match="Content-Length"):
        receive(b"12345", CONTENT_LENGTH=length)


@pytest.mark.parametrize(("kind", "size"), [("", 10), ("text/plain", 900_000), ("image/png", 2_000_000)])
def test_a_body_that_ends_too_early(kind: str, size: int) -> None:
    with pytest.raises(BadRequest, match=f"ended after 5 of {size}"):
        receive(b"12345", kind, CONTENT_LENGTH=str(size))


@pytest.mark.parametrize("kind", ["text/plain", "image/png"])
def test_chunked_bodies(kind: str) -> None:
    limit = LIMIT if kind == "text/plain" else UPLOADS
    chunked = {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "Chunked"}
    got = receive(b"12345", kind, **chunked)
    assert got == "12345" if kind == "text/plain" else got[2] == b"12345"
    assert len(receive(b"x" * limit, kind, **chunked) if kind == "text/plain" else b"x" * limit) == limit
    with pytest.raises(TooLarge):
        receive(b"x" * (limit + 1), kind, **chunked)


def test_without_length_and_chunks_there_is_no_body() -> None:
    assert receive(b"12345", CONTENT_LENGTH="") == {}


@pytest.mark.parametrize("kind", ["text/plain", "image/png"])
def test_a_sender_that_goes_away(kind: str) -> None:
    class Gone(io.RawIOBase):
        def read(self, _size: int = -1) -> bytes:
            raise ConnectionResetError

    with pytest.raises(BadRequest, match="ConnectionResetError"):
        receive(b"", kind, CONTENT_LENGTH="", HTTP_TRANSFER_ENCODING="chunked", **{"wsgi.input": Gone()})


KINDS = st.sampled_from(
    [
        *("", "application/json", "text/plain; charset=", "image/png", MULTIPART, "a/b+json", "/", ";="),
        *("application/x-www-form-urlencoded", 'multipart/form-data; boundary="X'),
    ]
)
PIECES = st.lists(
    st.one_of(st.binary(max_size=20), st.sampled_from([
        b"--X\r\n", b"--X--", b"\r\n\r\n", b"--X\n", field("a", b"1"), file("f", "a", "b/c", b"2"), b"{", b"[", b'"',
        b"%", b"&", b"=", b"Content-Disposition: form-data; name*=utf-8''%ff\r\n", b"\r\nContent-Length: -1\r\n",
    ])),
    max_size=12,
).map(b"".join)  # fmt: skip


@given(KINDS, PIECES)
def test_any_body_gives_data_or_a_refusal(kind: str, body: bytes) -> None:
    try:
        data = receive(body, kind)
    except (BadRequest, TooLarge):
        return
    orjson.dumps(data, default=lambda content: content.hex())


@given(st.binary(max_size=200), st.text(max_size=40))
def test_any_json_can_be_handed_on(raw: bytes, text: str) -> None:
    for body in (raw, text.encode("utf-8", "replace"), orjson.dumps(text), b'{"n": %d}' % (len(raw) ** 99)):
        orjson.dumps(json_or_text(body))
