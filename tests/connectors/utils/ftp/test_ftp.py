"""The FTP steps against a real FTP server (pyftpdlib), plain and with TLS."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.sdk import StepError
from tests.connectors.ftp_server import running
from tests.connectors.recorder import Recorder, run
from tests.connectors.world import World

FTP = "appmixer.utils.ftp."
Account = dict[str, Any]


def step(type: str, account: Account, content: Mapping[str, Any], world: World | None = None) -> Recorder:
    return run(FTP + type, {"in": content}, auth=account, world=world or World())


def make(folder: Path, path: str, content: bytes = b"hello", mtime: int = 1_700_000_000) -> Path:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    os.utime(file, (mtime, mtime))
    return file


def test_create_directory_makes_the_parents_and_accepts_what_exists(account: Account, folder: Path) -> None:
    for _ in range(2):
        assert step("CreateDirectory", account, {"path": "/Pictures/a b/c"}).sent == [("out", {})]
    assert (folder / "Pictures/a b/c").is_dir()


def test_a_relative_directory_starts_at_the_folder_of_the_login(account: Account, folder: Path) -> None:
    (folder / "x").mkdir()
    step("CreateDirectory", account, {"path": "x/y/z"})
    assert (folder / "x/y/z").is_dir()


def test_a_directory_cannot_be_made_below_a_file(account: Account, folder: Path) -> None:
    make(folder, "file")
    with pytest.raises(StepError) as caught:
        step("CreateDirectory", account, {"path": "/file/x"})
    assert caught.value.code == "550"


def test_upload_writes_and_overwrites(account: Account, folder: Path) -> None:
    world = World()
    world.files.put("f1", "local.bin", bytes(range(256)) * 1000)
    make(folder, "there.bin", b"old")
    assert step("UploadFile", account, {"fileId": "f1", "path": "/there.bin"}, world).sent == [
        ("out", {"fileId": "f1"})
    ]
    assert (folder / "there.bin").read_bytes() == bytes(range(256)) * 1000


def test_an_upload_needs_a_file_and_a_path(account: Account) -> None:
    with pytest.raises(StepError, match="fileId"):
        step("UploadFile", account, {"path": "/x"})
    with pytest.raises(StepError, match="path: must be given"):
        step("UploadFile", account, {"fileId": "f1"})


def test_a_path_cannot_smuggle_in_a_command(account: Account) -> None:
    with pytest.raises(StepError, match="path: must be a path"):
        step("RemoveFile", account, {"path": "/x\r\nDELE /y"})


def test_list_gives_entries_of_files_folders_and_hidden_files(account: Account, folder: Path) -> None:
    make(folder, "dir/sub/inner")
    make(folder, "dir/two words.txt", b"12345")
    make(folder, "dir/.hidden")
    make(folder, "dir/ďábel")
    [(port, content)] = step("List", account, {"path": "/dir"}).sent
    assert port == "out"
    entries = {entry["name"]: entry for entry in content["content"]}
    assert set(entries) == {"sub", "two words.txt", ".hidden", "ďábel"}
    assert entries["sub"]["type"] == 2
    assert (entries["two words.txt"]["type"], entries["two words.txt"]["size"]) == (1, 5)
    assert entries["two words.txt"]["modifiedAt"].startswith("2023-11-14T")


def test_list_without_a_path_lists_the_folder_of_the_login(account: Account, folder: Path) -> None:
    make(folder, "a")
    [(_, content)] = step("List", account, {}).sent
    assert [entry["name"] for entry in content["content"]] == ["a"]


def test_listing_a_folder_that_is_missing_fails_the_message(account: Account) -> None:
    with pytest.raises(StepError) as caught:
        step("List", account, {"path": "/nowhere"})
    assert caught.value.code == "550"
    assert caught.value.retry_hint is False


def test_file_info(account: Account, folder: Path) -> None:
    make(folder, "dir/a.txt", b"12345")
    [(port, info)] = step("GetFileInfo", account, {"path": "/dir/a.txt"}).sent
    assert port == "out"
    assert set(info) == {"name", "type", "size", "rawModifiedAt", "modifiedAt"}
    assert (info["name"], info["type"], info["size"]) == ("a.txt", 1, 5)
    # LIST tells only the day of an old file
    assert abs(info["modifiedAt"] - 1_700_000_000_000) < 24 * 3_600_000
    assert info["rawModifiedAt"] == info["modifiedAt"]


def test_download_keeps_the_base_name(account: Account, folder: Path) -> None:
    make(folder, "dir/a.bin", bytes(range(256)) * 2000)
    world = World()
    [(port, out)] = step("DownloadFile", account, {"path": "/dir/a.bin"}, world).sent
    assert port == "out"
    assert world.files.blobs[out["fileId"]] == bytes(range(256)) * 2000
    record = world.files.records[out["fileId"]]
    assert out == {"fileId": record.file_id, "filename": "a.bin", "md5": record.md5, "length": 512_000}


def test_rename_also_moves(account: Account, folder: Path) -> None:
    make(folder, "dir/a", b"x")
    make(folder, "other/b")
    content = {"path": "/dir/a", "newPath": "/other/c"}
    assert step("RenameFile", account, content).sent == [("out", {})]
    assert (folder / "other/c").read_bytes() == b"x"


def test_remove_file(account: Account, folder: Path) -> None:
    make(folder, "a")
    assert step("RemoveFile", account, {"path": "/a"}).sent == [("out", {})]
    assert list(folder.iterdir()) == []


def test_remove_directory_with_all_in_it(account: Account, folder: Path) -> None:
    make(folder, "dir/sub/deep/a")
    make(folder, "dir/.b")
    make(folder, "keep")
    (folder / "dir/link").symlink_to(folder / "keep")
    assert step("RemoveDirectory", account, {"path": "/dir"}).sent == [("out", {})]
    assert [p.name for p in folder.iterdir()] == ["keep"]


@pytest.mark.parametrize("type", ["GetFileInfo", "DownloadFile", "RenameFile", "RemoveFile", "RemoveDirectory"])
def test_what_is_missing_goes_to_not_found(account: Account, type: str) -> None:
    recorder = step(type, account, {"path": "/no/such", "newPath": "/x"})
    [(port, content)] = recorder.sent
    assert port == "notFound"
    assert (content["path"], content["errorCode"]) == ("/no/such", 550)
    assert "550" in content["errorMessage"]


def test_new_file_takes_down_what_is_there_and_then_tells_what_is_new(account: Account, folder: Path) -> None:
    make(folder, "in/a")
    recorder = Recorder(FTP + "NewFile", properties={"path": "/in"}, auth=account)
    assert recorder.tick().take() == []
    make(folder, "in/b", b"123")
    (folder / "in/sub").mkdir()
    (folder / "in/a").rename(folder / "in/renamed")
    told = recorder.tick().take()
    assert {content["name"] for _, content in told} == {"b", "sub", "renamed"}
    assert {port for port, _ in told} == {"out"}
    assert next(c for _, c in told if c["name"] == "b")["size"] == 3
    (folder / "in/b").unlink()
    assert recorder.tick().take() == []
    make(folder, "in/b")
    assert [content["name"] for _, content in recorder.tick().take()] == ["b"]


def test_new_file_does_not_overlap_itself(account: Account) -> None:
    recorder = Recorder(FTP + "NewFile", auth=account)
    recorder.world.locks.add("c1")
    with pytest.raises(StepError) as caught:
        recorder.tick()
    assert caught.value.code == "LOCK_NOT_ACQUIRED"


@pytest.mark.parametrize("secure", ["explicit", "implicit"])
def test_tls(secure: str, folder: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    world = World()
    world.files.put("f1", "x", b"0123456789" * 50_000)
    with running(folder, secure, certificate) as port:
        kind = {"explicit": "yes", "implicit": "implicit"}[secure]
        account = {"host": "localhost", "port": port, "username": "ann", "password": "secret", "secure": kind}
        step("UploadFile", account, {"fileId": "f1", "path": "/up"}, world)
        [(_, listed)] = step("List", account, {}).sent
        [(_, out)] = step("DownloadFile", account, {"path": "/up"}, world).sent
    assert [(entry["name"], entry["size"]) for entry in listed["content"]] == [("up", 500_000)]
    assert world.files.blobs[out["fileId"]] == b"0123456789" * 50_000


@pytest.mark.parametrize("secure", ["explicit", "implicit"])
def test_a_certificate_nobody_vouches_for_is_refused(secure: str, folder: Path, certificate: Path) -> None:
    with running(folder, secure, certificate) as port:
        kind = {"explicit": "yes", "implicit": "implicit"}[secure]
        account = {"host": "localhost", "port": port, "username": "ann", "password": "secret", "secure": kind}
        with pytest.raises(StepError, match="certificate is not trusted") as caught:
            step("List", account, {})
    assert (caught.value.code, caught.value.retry_hint) == ("EACCES", False)


def test_a_password_is_not_sent_when_tls_is_wanted_and_not_there(folder: Path) -> None:
    with running(folder) as port:
        account = {"host": "127.0.0.1", "port": port, "username": "ann", "password": "secret", "secure": "yes"}
        with pytest.raises(StepError):
            step("List", account, {})


def test_a_refused_upload_says_what_to_look_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from connectors.appmixer.utils.ftp.over_ftp import OverFtp

    def refuse(self: OverFtp, path: str, file: object) -> None:
        raise StepError("127.0.0.1: 553 Could not create file.", code="553", retryable=False)

    monkeypatch.setattr(OverFtp, "upload", refuse)
    world = World()
    world.files.put("f1", "x", b"")
    with running(folder) as port:
        account = {"host": "127.0.0.1", "port": port, "username": "ann", "password": "secret"}
        with pytest.raises(StepError, match="its folder must exist") as caught:
            step("UploadFile", account, {"fileId": "f1", "path": "/no/x"}, world)
    assert caught.value.code == "553"


def test_a_wrong_password_is_no_matter_for_a_retry(account: Account) -> None:
    with pytest.raises(StepError) as caught:
        step("List", account | {"password": "wrong"}, {})
    assert (caught.value.code, caught.value.retry_hint) == ("530", False)


def test_a_server_that_is_not_there_is_tried_again(folder: Path) -> None:
    with running(folder) as port:
        pass
    with pytest.raises(StepError) as caught:
        step("List", {"host": "127.0.0.1", "port": port}, {})
    assert (caught.value.code, caught.value.retry_hint) == ("ECONNREFUSED", None)


def test_only_addresses_the_installation_allows_are_connected_to(folder: Path, account: Account) -> None:
    class Guarded(World):
        def __init__(self) -> None:
            super().__init__()
            self.http.resolve = self.refuse  # type: ignore[method-assign]

        def refuse(self, host: str, port: int) -> str:
            raise StepError(f"{host} is private", code="EACCES", retryable=False)

    with pytest.raises(StepError, match="is private"):
        step("List", account, {}, Guarded())


@pytest.mark.parametrize(
    "field, value",
    [("host", ""), ("host", "a b"), ("host", "ftp://x"), ("port", "x"), ("port", 0), ("port", 70_000),
     ("secure", "tls"), ("username", "a\nb"), ("password", "a\r\nQUIT")],
)  # fmt: skip
def test_bad_account_fields_are_named(account: Account, field: str, value: object) -> None:
    with pytest.raises(StepError, match=f"^{field}: ") as caught:
        step("List", account | {field: value} if value != 0 else account | {field: "0"}, {})
    assert caught.value.retry_hint is False


def test_options_of_file_info_depend_on_the_kind_of_server() -> None:
    properties = {"generateOutputPortOptions": True}
    for secure, last in (("no", "modifiedAt"), ("sftp", "longname")):
        recorder = run(FTP + "GetFileInfo", {"in": {"path": "/"}}, properties=properties, auth={"secure": secure})
        [(port, options)] = recorder.sent
        assert port == "out"
        assert options[-1]["value"] == last
        assert all(set(option) == {"label", "value"} for option in options)
