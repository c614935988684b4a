from __future__ import annotations

from typing import Any

import pytest

from engine.sdk import CancelError, HeadraceError, StepError
from tests.connectors.recorder import run
from tests.connectors.world import World

FILES = "appmixer.utils.files."


@pytest.fixture
def world() -> World:
    return World()


def step(world: World, type: str, **fields: Any) -> list[tuple[str, Any]]:
    return run(FILES + type, {"in": fields}, world=world).sent


# -- SaveFile


@pytest.mark.parametrize(
    "content, encoding, saved",
    [
        ("žluť", "utf8", "žluť".encode()),
        ("abc é", "ascii", b"abc \xe9"),
        ("ž", "utf16le", b"\x7e\x01"),
        ("AP97", "base64", b"\x00\xff\x7b"),
        ("AP\n97 ", "base64", b"\x00\xff\x7b"),
        ("-_8", "base64", b"\xfb\xff"),
        ("QQ==", "base64", b"A"),
        ("00fe 7B", "hex", b"\x00\xfe\x7b"),
        ("", "utf8", b""),
        ([1, {"a": "ž"}], "utf8", '[1,{"a":"ž"}]'.encode()),
        ([1], "base64", b"[1]"),
    ],
)
def test_save_file(world: World, content: Any, encoding: str, saved: bytes) -> None:
    fields = {"filename": "a.txt", "mimetype": "text/x", "content": content, "contentEncoding": encoding}
    [(port, record)] = step(world, "SaveFile", **fields)
    assert port == "file"
    assert record == world.files.records[record["fileId"]].to_json()
    assert (record["filename"], record["contentType"], record["length"]) == ("a.txt", "text/x", len(saved))
    assert world.files.blobs[record["fileId"]] == saved


@pytest.mark.parametrize(
    "content, encoding, message",
    [
        ("###", "base64", "content: cannot be read as base64"),
        ("AAAAA", "base64", "content: cannot be read as base64"),
        ("xyz", "hex", "content: cannot be read as hex"),
        ("日", "ascii", "content: cannot be read as ascii"),
        ("x", "utf-7", "contentEncoding: must be ascii, utf8, utf16le, base64 or hex"),
    ],
)
def test_save_file_refuses_what_it_cannot_read(world: World, content: str, encoding: str, message: str) -> None:
    with pytest.raises(StepError, match=message) as caught:
        step(world, "SaveFile", filename="a", mimetype="x", content=content, contentEncoding=encoding)
    assert caught.value.retry_hint is False
    assert world.files.blobs == {}


# -- LoadFile, LoadFileLines


@pytest.mark.parametrize(
    "content, text",
    [("žluť\r\n".encode(), "žluť\r\n"), (b"", ""), (b"\xffa", "\ufffda"), ("ž".encode() * 300_000, "ž" * 300_000)],
)
def test_load_file(world: World, content: bytes, text: str) -> None:
    world.files.put("f1", "a", content)
    assert step(world, "LoadFile", fileId="f1") == [("content", {"content": text})]


@pytest.mark.parametrize(
    "content, lines",
    [
        ("a\nb", ["a", "b"]),
        ("a\r\nb\r\n", ["a", "b"]),
        ("a\n\n b \n", ["a", "", " b "]),
        ("a\rb", ["a", "b"]),
        ("", []),
        ("\n", [""]),
        ("ž" * 200_000 + "\nx", ["ž" * 200_000, "x"]),
    ],
)
def test_load_file_lines(world: World, content: str, lines: list[str]) -> None:
    world.files.put("f1", "a", content.encode())
    expected = [("content", {"index": index, "line": line}) for index, line in enumerate(lines)]
    assert step(world, "LoadFileLines", fileId="f1") == expected


@pytest.mark.parametrize("type", ["LoadFile", "LoadFileLines", "RemoveFile", "ArchiveFile"])
def test_a_file_that_is_missing_fails_the_message(world: World, type: str) -> None:
    with pytest.raises(HeadraceError, match="there is no file f9"):
        step(world, type, fileId="f9")


# -- DownloadFile


def download(world: World, link: str, headers: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    world.http.answer(200, b"content", headers)
    [(port, out)] = step(world, "DownloadFile", link=link, **fields)
    assert port == "out"
    assert world.files.blobs[out["fileId"]] == b"content"
    record = world.files.records[out["fileId"]]
    assert (record.filename, record.content_type) == (out["filename"], out["contentType"])
    found: dict[str, Any] = out
    return found


def test_download_keeps_type_and_name_of_the_answer(world: World) -> None:
    headers = {"Content-Type": "image/png", "Content-Disposition": 'attachment; filename="my photo.png"'}
    out = download(world, "https://x.test/a/b?c=d", headers)
    assert set(out) == {"fileId", "filename", "contentType"}
    assert (out["filename"], out["contentType"]) == ("my photo.png", "image/png")


@pytest.mark.parametrize(
    "disposition, name",
    [
        ("attachment; filename=plain.txt", "plain.txt"),
        ("attachment; filename*=UTF-8''%C5%BElu%C5%A5.txt", "žluť.txt"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        (r'attachment; filename="c:\\temp\\x.txt"', "x.txt"),
        ("inline", "b c.txt"),
        ("", "b c.txt"),
    ],
)
def test_names_from_the_answer_or_the_address(world: World, disposition: str, name: str) -> None:
    link = "https://x.test/a/b%20c.txt?q=/z"
    assert download(world, link, {"Content-Disposition": disposition})["filename"] == name


def test_a_custom_name_wins(world: World) -> None:
    out = download(world, "https://x.test/", {"Content-Disposition": "filename=a"}, customFileName="mine.bin")
    assert (out["filename"], out["contentType"]) == ("mine.bin", "application/octet-stream")


def test_an_address_without_a_name(world: World) -> None:
    assert download(world, "https://x.test")["filename"] == "download"


@pytest.mark.parametrize("link", ["", "x.test/a", "ftp://x.test/a", "http://", "http://[", "file:///etc/passwd"])
def test_a_bad_address_discards_the_message(world: World, link: str) -> None:
    with pytest.raises(CancelError, match="link: must be an http or https address"):
        step(world, "DownloadFile", link=link)


@pytest.mark.parametrize("status", [404, 503, 302])
def test_an_answer_that_is_no_file(world: World, status: int) -> None:
    world.http.answer(status, b"sorry")
    with pytest.raises(StepError, match=f"https://x.test/a answered {status}") as caught:
        step(world, "DownloadFile", link="https://x.test/a")
    assert caught.value.code == str(status)
    assert world.files.blobs == {}


# -- RemoveFile, ArchiveFile


def test_remove_file(world: World) -> None:
    world.files.put("f1", "a", b"")
    assert step(world, "RemoveFile", fileId="f1") == [("deleted", {"fileId": "f1"})]
    assert world.files.records == {}


def test_archive_file(world: World) -> None:
    world.files.put("f1", "a", b"")
    assert step(world, "ArchiveFile", fileId="f1") == [("out", {"fileId": "f1"})]
    assert world.files.records["f1"].metadata["archived"] is True
