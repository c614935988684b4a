"""The request steps: what is sent, and what is made of the answer."""

from __future__ import annotations

import base64
import io
from typing import Any

import orjson
import pytest
from werkzeug.formparser import parse_form_data

from engine.sdk import CancelError, StepError
from tests.connectors.recorder import Recorder, run
from tests.connectors.world import FakeRequest, World

HTTP = "appmixer.utils.http."
URL = "https://api.test/things"
METHODS = ["Get", "Post", "Put", "Patch", "Delete"]


@pytest.fixture
def world() -> World:
    made = World()
    made.http.answer(200, {"ok": True}, {"Content-Type": "application/json"})
    return made


def call(type: str, world: World, **fields: Any) -> tuple[Recorder, FakeRequest]:
    recorder = run(HTTP + type, {"in": {"url": URL, **fields}}, world=world)
    return recorder, world.http.requests[-1]


def sent_header(request: FakeRequest, name: str) -> str | None:
    return {key.lower(): value for key, value in request.headers.items()}.get(name)


@pytest.mark.parametrize("type", METHODS)
def test_method_and_shape_of_the_answer(type: str, world: World) -> None:
    recorder, request = call(type, world, url="https://api.test:8080/a/b?x=1#part", method="TRACE")
    assert request.method == type.upper()
    [(port, out)] = recorder.sent
    assert port == "response"
    assert out["body"] == {"ok": True}
    assert out["statusCode"] == 200
    assert out["headers"] == {"content-type": {"type": "application/json", "parameters": {}}}
    assert out["request"]["method"] == type.upper()
    assert out["request"]["headers"] == request.headers
    assert out["request"]["uri"] == {
        "protocol": "https:", "slashes": True, "auth": None, "host": "api.test:8080", "port": "8080",
        "hostname": "api.test", "hash": "#part", "search": "?x=1", "query": "x=1", "pathname": "/a/b",
        "path": "/a/b?x=1", "href": "https://api.test:8080/a/b?x=1#part",
    }  # fmt: skip


def test_an_address_without_a_path() -> None:
    world = World()
    world.http.answer(200, "hi")
    recorder, _ = call("Get", world, url="http://api.test")
    uri = recorder.sent[0][1]["request"]["uri"]
    assert (uri["href"], uri["path"], uri["search"], uri["port"]) == ("http://api.test/", "/", None, None)


def test_a_login_in_the_address_is_not_shown(world: World) -> None:
    recorder, request = call("Get", world, url="https://ann:secret@api.test/")
    assert request.url == "https://ann:secret@api.test/"
    assert "secret" not in orjson.dumps(recorder.sent).decode()


@pytest.mark.parametrize("type", METHODS)
@pytest.mark.parametrize("url", ["ftp://x/y", "nonsense", "http://", "http://[", ""])
def test_other_addresses_are_refused(type: str, url: str) -> None:
    with pytest.raises(StepError, match="url: must be an http or https address") as caught:
        run(HTTP + type, {"in": {"url": url}})
    assert caught.value.retry_hint is False


def test_content_type_is_taken_apart() -> None:
    world = World()
    world.http.answer(200, "<p>", {"Content-Type": 'Text/HTML; charset="utf-8"; x=1', "ETag": "abc"})
    recorder, _ = call("Get", world)
    assert recorder.sent[0][1]["headers"] == {
        "content-type": {"type": "text/html", "parameters": {"charset": "utf-8", "x": "1"}},
        "etag": "abc",
    }


# -- headers


@pytest.mark.parametrize("given", [{"X-A": "b", "n": 5, "none": None}, '{"X-A": "b", "n": 5, "none": null}'])
def test_headers_may_be_an_object_or_its_text(given: Any, world: World) -> None:
    _, request = call("Get", world, headers=given)
    assert (request.headers["X-A"], request.headers["n"]) == ("b", "5")
    assert "none" not in request.headers


@pytest.mark.parametrize("given", [None, "", "  ", {}])
def test_headers_may_be_left_out(given: Any, world: World) -> None:
    _, request = call("Get", world, headers=given)
    assert list(request.headers) == ["accept"]


@pytest.mark.parametrize("type", METHODS)
@pytest.mark.parametrize("given", ["{", "[1]", '"text"', "5"])
def test_wrong_headers_fail_the_message_and_post_and_put_discard_it(type: str, given: str) -> None:
    with pytest.raises(StepError, match="headers: must be a JSON object") as caught:
        run(HTTP + type, {"in": {"url": URL, "headers": given}})
    assert isinstance(caught.value, CancelError) is (type in ("Post", "Put"))
    assert caught.value.retry_hint is False


# -- bodies


@pytest.mark.parametrize("type", ["Post", "Put", "Patch", "Delete"])
@pytest.mark.parametrize(
    "body, sent, kind",
    [
        ({"a": [1]}, b'{"a":[1]}', "application/json"),
        ([1, 2], b"[1,2]", "application/json"),
        ('{"a": 1}', b'{"a": 1}', "application/json"),
        ('{"big": 12345678901234567890123}', b'{"big": 12345678901234567890123}', "application/json"),
        ("plain ř", "plain ř".encode(), "text/plain; charset=utf-8"),
        (None, b"", None),
        ("", b"", None),
    ],
)
def test_raw_bodies(type: str, body: Any, sent: bytes, kind: str | None, world: World) -> None:
    _, request = call(type, world, body=body)
    assert request.body == sent
    assert sent_header(request, "content-type") == kind


def test_the_given_content_type_wins(world: World) -> None:
    _, request = call("Post", world, body='{"a": 1}', headers={"Content-Type": "application/x"})
    assert request.headers["Content-Type"] == "application/x"
    assert "content-type" not in request.headers


@pytest.mark.parametrize(
    "body", [{"a": "x y", "b": {"c": 1, "d": [True, None]}}, '{"a":"x y","b":{"c":1,"d":[true,null]}}']
)
def test_form_encoding(body: Any, world: World) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    _, request = call("Post", world, body=body, headers=headers)
    assert request.body == b"a=x+y&b%5Bc%5D=1&b%5Bd%5D%5B0%5D=true&b%5Bd%5D%5B1%5D="


def test_form_encoded_text_goes_out_as_it_is(world: World) -> None:
    _, request = call("Put", world, body="a=1&b=2", headers={"content-type": "application/x-www-form-urlencoded"})
    assert request.body == b"a=1&b=2"


@pytest.mark.parametrize("type", ["Post", "Patch"])
def test_a_base64_body_is_sent_as_bytes(type: str, world: World) -> None:
    _, request = call(type, world, body=base64.b64encode(b"\0\xff{").decode(), bodyBase64Encode=True)
    assert request.body == b"\0\xff{"
    assert sent_header(request, "content-type") == "application/octet-stream"


def test_what_is_no_base64_is_said_to_be_none() -> None:
    with pytest.raises(StepError, match="body: is not base64"):
        run(HTTP + "Post", {"in": {"url": URL, "body": "###", "bodyBase64Encode": True}})


@pytest.mark.parametrize(
    "body, query",
    [
        ({"a": "ř", "list": [1, 2]}, "a=%C5%99&list%5B0%5D=1&list%5B1%5D=2"),
        ('{"a": 1, "n": null}', "a=1&n="),
        ("a=1&b=", "a=1&b="),
        (base64.b64encode(b'{"a":1}').decode(), "a=1"),
    ],
)
def test_get_sends_the_body_as_query(body: Any, query: str, world: World) -> None:
    _, request = call("Get", world, url=URL + "?x=1", body=body, bodyBase64Encode=body == "eyJhIjoxfQ==")
    assert request.url == f"{URL}?x=1&{query}"
    assert request.body == b""


def test_get_without_a_body_leaves_the_address_alone(world: World) -> None:
    empty: list[Any] = [None, "", {}]
    for body in empty:
        world.http.answer(200)
        _, request = call("Get", world, body=body)
        assert request.url == URL


@pytest.mark.parametrize("body", ["nonsense", "[1]", "5", [1]])
def test_what_is_no_query_is_refused(body: Any) -> None:
    with pytest.raises(StepError, match="body: must be a JSON object of query parameters"):
        run(HTTP + "Get", {"in": {"url": URL, "body": body}})


# -- files and forms


@pytest.mark.parametrize("type", ["Post", "Put"])
def test_binary_sends_a_file_with_its_length(type: str, world: World) -> None:
    world.files.put("f1", "a.bin", b"\0" * 100_000, "image/png")
    _, request = call(type, world, bodyType="binary", fileId="f1", body="ignored")
    assert request.body == b"\0" * 100_000
    assert sent_header(request, "content-length") == "100000"
    assert sent_header(request, "content-type") == "application/octet-stream"


def test_binary_headers_that_are_given(world: World) -> None:
    world.files.put("f1", "a.bin", b"123")
    headers = {"Content-Type": "image/png", "Content-Length": "7"}
    _, request = call("Post", world, bodyType="binary", fileId="f1", headers=headers)
    assert request.headers == {"accept": "application/json, */*", "Content-Type": "image/png", "content-length": "3"}


def test_binary_needs_a_file() -> None:
    with pytest.raises(StepError, match="fileId: choose the file"):
        run(HTTP + "Post", {"in": {"url": URL, "bodyType": "binary"}})


def test_an_unknown_kind_of_body_is_refused() -> None:
    with pytest.raises(StepError, match="bodyType: must be raw, form-data or binary"):
        run(HTTP + "Post", {"in": {"url": URL, "bodyType": "xml"}})


@pytest.mark.parametrize("type", ["Post", "Put"])
def test_form_data(type: str, world: World) -> None:
    world.files.put("f1", 'my "photo".png', b"\x89PNG\r\n" * 50_000, "image/png")
    rows = [
        {"name": "n", "type": "number", "number": 1.5},
        {"name": "t", "type": "text", "text": "žluť", "number": 7},
        {"name": "d", "type": "date-time", "date-time": "2026-01-31T08:15:00Z"},
        {"name": "b", "type": "toggle", "toggle": False},
        {"name": "skipped", "type": "textarea", "textarea": "x"},
        {"name": "empty", "type": "text"},
        {},
        {"name": "f", "type": "filepicker", "filepicker": "f1"},
    ]
    _, request = call(type, world, bodyType="form-data", bodyFormData={"ADD": rows}, headers={"Content-type": "no"})
    assert int(sent_header(request, "content-length") or 0) == len(request.body)
    kind = sent_header(request, "content-type")
    assert kind is not None
    environ = {
        "wsgi.input": io.BytesIO(request.body),
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": kind,
        "CONTENT_LENGTH": str(len(request.body)),
    }
    _, form, files = parse_form_data(environ)
    assert form.to_dict(flat=False) == {
        "n": ["1.5"], "t": ["žluť"], "d": ["2026-01-31T08:15:00Z"], "b": ["false"], "empty": [""],
    }  # fmt: skip
    assert list(files) == ["f"]
    with files["f"].stream as stream:
        assert stream.read() == b"\x89PNG\r\n" * 50_000
    assert b'filename="my %22photo%22.png"\r\nContent-Type: image/png\r\n' in request.body


def test_a_file_s_type_cannot_add_to_the_head_of_its_part(world: World) -> None:
    world.files.put("f1", "a.txt", b"x", "text/plain\r\nContent-Disposition: form-data; name=admin")
    rows = {"ADD": [{"name": "f", "type": "filepicker", "filepicker": "f1"}]}
    _, request = call("Post", world, bodyType="form-data", bodyFormData=rows)
    assert b"admin" not in request.body
    assert int(sent_header(request, "content-length") or 0) == len(request.body)


def test_an_empty_form_and_a_form_field_without_its_file(world: World) -> None:
    _, request = call("Post", world, bodyType="form-data")
    assert request.body.startswith(b"--headrace-")
    assert request.body.endswith(b"--\r\n")
    rows = {"ADD": [{"name": "f", "type": "filepicker"}]}
    with pytest.raises(StepError, match="choose the file for the field 'f'"):
        run(HTTP + "Post", {"in": {"url": URL, "bodyType": "form-data", "bodyFormData": rows}})


# -- answers

SPECIAL = "Ž".encode() + b"\xff"


@pytest.mark.parametrize(
    "fields, body",
    [
        ({}, "Ž\ufffd"),
        ({"responseEncoding": "utf8"}, "Ž\ufffd"),
        ({"responseEncoding": "ascii"}, "E=\x7f"),
        ({"responseEncoding": "latin1"}, "Å½ÿ"),
        ({"responseEncoding": "binary"}, "Å½ÿ"),
        ({"responseEncoding": "hex"}, "c5bdff"),
        ({"responseEncoding": "base64"}, "xb3/"),
        ({"responseEncoding": None}, {"type": "Buffer", "data": [0xC5, 0xBD, 0xFF]}),
        ({"responseEncoding": "noEncoding"}, {"type": "Buffer", "data": [0xC5, 0xBD, 0xFF]}),
    ],
)
def test_encodings_of_the_answer(fields: dict[str, Any], body: Any) -> None:
    world = World()
    world.http.answer(200, SPECIAL)
    recorder, _ = call("Get", world, **fields)
    assert recorder.sent[0][1]["body"] == body


def test_utf16_answers() -> None:
    world = World()
    world.http.answer(200, "ahoj Ž".encode("utf-16-le"))
    recorder, _ = call("Get", world, responseEncoding="utf16le")
    assert recorder.sent[0][1]["body"] == "ahoj Ž"


@pytest.mark.parametrize(
    "body, encoding, seen",
    [
        (b'{"a":1}', "utf8", {"a": 1}),
        (b"\xef\xbb\xbf[1]", "utf8", [1]),
        (b"12", "latin1", 12),
        (b'{"a":1}', None, {"a": 1}),
        (b"{broken", "utf8", "{broken"),
        (b"", "utf8", ""),
        (b"12", "hex", "3132"),
    ],
)
def test_json_is_recognised_whatever_the_content_type(body: bytes, encoding: str | None, seen: Any) -> None:
    world = World()
    world.http.answer(200, body, {"Content-Type": "text/plain"})
    recorder, _ = call("Get", world, responseEncoding=encoding)
    assert recorder.sent[0][1]["body"] == seen


@pytest.mark.parametrize("type", METHODS)
@pytest.mark.parametrize(
    "status, body, message",
    [
        (404, {"message": "no such thing"}, "no such thing"),
        (500, "boom", r"https://api.test/things was answered with status 500"),
        (302, {"message": 5}, "status 302"),
        (422, {"message": ""}, "status 422"),
    ],
)
def test_other_than_2xx_throws_with_the_status_as_code(type: str, status: int, body: Any, message: str) -> None:
    world = World()
    world.http.answer(status, body)
    with pytest.raises(StepError, match=message) as caught:
        call(type, world)
    assert caught.value.code == str(status)
    assert caught.value.retry_hint is None
    assert caught.value.details == [{"statusCode": status, "body": body}]


def test_2xx_other_than_200_is_an_answer() -> None:
    world = World()
    world.http.answer(204)
    recorder, _ = call("Delete", world)
    assert recorder.sent[0][1]["statusCode"] == 204


def test_errors_of_the_network_are_passed_on() -> None:
    world = World()
    world.http.fail(StepError("refused", code="ECONNREFUSED"))
    with pytest.raises(StepError) as caught:
        call("Get", world)
    assert caught.value.code == "ECONNREFUSED"
