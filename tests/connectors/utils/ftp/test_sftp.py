"""The FTP steps over SFTP, against an OpenSSH server for the user who runs the tests."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from connectors.appmixer.utils.ftp.account import login_of
from connectors.appmixer.utils.ftp.over_sftp import sftp_connection
from connectors.appmixer.utils.ftp.ssh import channel
from engine.sdk import StepError
from tests.connectors.recorder import Recorder, run
from tests.connectors.utils.ftp.conftest import SshServer
from tests.connectors.world import World

FTP = "appmixer.utils.ftp."
Account = dict[str, Any]


def step(type: str, account: Account, content: Mapping[str, Any], world: World | None = None) -> Recorder:
    return run(FTP + type, {"in": content}, auth=account, world=world or World())


def test_a_file_goes_there_and_back(sftp: Account, folder: Path) -> None:
    world = World()
    content = os.urandom(3_000_001)
    world.files.put("f1", "x", content)
    path = f"{folder}/new/sub"
    assert step("CreateDirectory", sftp, {"path": path}).sent == [("out", {})]
    assert step("CreateDirectory", sftp, {"path": path}).sent == [("out", {})]
    sent = step("UploadFile", sftp, {"fileId": "f1", "path": f"{path}/a b.bin"}, world).sent
    assert sent == [("out", {"fileId": "f1"})]
    assert (folder / "new/sub/a b.bin").read_bytes() == content
    [(_, out)] = step("DownloadFile", sftp, {"path": f"{path}/a b.bin"}, world).sent
    assert out["filename"] == "a b.bin"
    assert out["length"] == 3_000_001
    assert world.files.blobs[out["fileId"]] == content


@pytest.mark.parametrize("size", [0, 1, 32_768, 32_769])
def test_small_files(sftp: Account, folder: Path, size: int) -> None:
    (folder / "f").write_bytes(b"x" * size)
    world = World()
    [(_, out)] = step("DownloadFile", sftp, {"path": f"{folder}/f"}, world).sent
    assert world.files.blobs[out["fileId"]] == b"x" * size


def test_an_upload_replaces_a_longer_file(sftp: Account, folder: Path) -> None:
    world = World()
    world.files.put("f1", "x", b"new")
    (folder / "f").write_bytes(b"much longer than before")
    step("UploadFile", sftp, {"fileId": "f1", "path": f"{folder}/f"}, world)
    assert (folder / "f").read_bytes() == b"new"


def test_entries(sftp: Account, folder: Path) -> None:
    (folder / "sub").mkdir()
    file = folder / "á b.txt"
    file.write_bytes(b"12345")
    file.chmod(0o640)
    os.utime(file, (1_700_000_001, 1_700_000_000))
    (folder / "link").symlink_to("sub")
    [(_, content)] = step("List", sftp, {"path": str(folder)}).sent
    entries = {entry["name"]: entry for entry in content["content"]}
    assert {name: entry["type"] for name, entry in entries.items()} == {"sub": "d", "á b.txt": "-", "link": "l"}
    found = entries["á b.txt"]
    assert found.pop("longname").endswith("á b.txt")
    assert found == {
        "type": "-", "name": "á b.txt", "size": 5, "modifyTime": 1_700_000_000_000, "accessTime": 1_700_000_001_000,
        "rights": {"user": "rw", "group": "r", "other": ""}, "owner": os.getuid(), "group": os.getgid(),
    }  # fmt: skip


def test_a_folder_with_many_files_is_listed_as_a_whole(sftp: Account, folder: Path) -> None:
    for number in range(1_500):
        (folder / f"{number}").touch()
    [(_, content)] = step("List", sftp, {"path": str(folder)}).sent
    assert {entry["name"] for entry in content["content"]} == {str(number) for number in range(1_500)}


def test_file_info(sftp: Account, folder: Path) -> None:
    (folder / "f").write_bytes(b"12345")
    [(port, info)] = step("GetFileInfo", sftp, {"path": f"{folder}/f"}).sent
    assert port == "out"
    assert set(info) == {"name", "type", "size", "modifyTime", "accessTime", "rights", "longname"}
    assert (info["name"], info["type"], info["size"]) == ("f", "-", 5)
    assert info["longname"].startswith("-rw")


def test_rename_remove_and_remove_directory(sftp: Account, folder: Path) -> None:
    (folder / "dir/sub").mkdir(parents=True)
    (folder / "dir/sub/a").write_bytes(b"x")
    (folder / "keep").write_bytes(b"")
    (folder / "dir/link").symlink_to(folder / "keep")
    assert step("RenameFile", sftp, {"path": f"{folder}/dir/sub/a", "newPath": f"{folder}/b"}).sent == [("out", {})]
    assert (folder / "b").read_bytes() == b"x"
    assert step("RemoveFile", sftp, {"path": f"{folder}/b"}).sent == [("out", {})]
    assert step("RemoveDirectory", sftp, {"path": f"{folder}/dir"}).sent == [("out", {})]
    assert [path.name for path in folder.iterdir()] == ["keep"]


@pytest.mark.parametrize("type", ["GetFileInfo", "DownloadFile", "RenameFile", "RemoveFile", "RemoveDirectory", "List"])
def test_what_is_missing_fails_the_message(sftp: Account, folder: Path, type: str) -> None:
    with pytest.raises(StepError, match="No such file") as caught:
        step(type, sftp, {"path": f"{folder}/no", "newPath": f"{folder}/x"})
    assert (caught.value.code, caught.value.retry_hint) == ("ENOENT", False)


def test_a_failure_keeps_the_servers_words(sftp: Account, folder: Path) -> None:
    (folder / "f").write_bytes(b"")
    with pytest.raises(StepError, match="is no folder"):
        step("CreateDirectory", sftp, {"path": f"{folder}/f/x"})
    with pytest.raises(StepError) as caught:
        step("RemoveDirectory", sftp, {"path": f"{folder}/f"})
    assert caught.value.retry_hint is False


def test_new_file(sftp: Account, folder: Path) -> None:
    recorder = Recorder(FTP + "NewFile", properties={"path": str(folder)}, auth=sftp)
    assert recorder.tick().take() == []
    (folder / "a").write_bytes(b"12")
    os.utime(folder / "a", (1_700_000_000, 1_700_000_000))
    [(port, item)] = recorder.tick().take()
    assert (port, item["name"], item["size"]) == ("out", "a", 2)
    assert item["modifiedAt"] == "2023-11-14T22:13:20.000Z"


def test_the_servers_key_must_stay_the_same_while_the_flow_runs(
    ssh_server: tuple[SshServer, str], folder: Path
) -> None:
    server, program = ssh_server
    server.start(program)
    recorder = Recorder(FTP + "List", auth=server.account)
    recorder.receive({"in": {"path": str(folder)}})
    recorder.receive({"in": {"path": str(folder)}})
    assert len(recorder.sent) == 2
    server.stop()
    server.make_key("host")
    server.start(program)
    with pytest.raises(StepError, match="its key is not the one") as caught:
        recorder.receive({"in": {"path": str(folder)}})
    assert (caught.value.code, caught.value.retry_hint) == ("EACCES", False)
    recorder.state.clear()
    recorder.receive({"in": {"path": str(folder)}})


@pytest.mark.parametrize(
    "change", [{"password": "wrong"}, {"password": ""}, {"privatekey": "no key"}, {"username": "-x"}]
)
def test_a_refused_login_is_no_matter_for_a_retry(sftp: Account, folder: Path, change: Account) -> None:
    with pytest.raises(StepError) as caught:
        step("List", sftp | change, {"path": str(folder)})
    assert (caught.value.code, caught.value.retry_hint) == ("EACCES", False)


def test_a_server_that_is_not_there_is_tried_again(ssh_server: tuple[SshServer, str]) -> None:
    server, _ = ssh_server
    with pytest.raises(StepError) as caught:
        step("List", server.account, {})
    assert (caught.value.code, caught.value.retry_hint) == ("ECONNREFUSED", None)


def test_a_connection_that_ends_in_between_is_tried_again(sftp: Account, folder: Path) -> None:
    with sftp_connection(login_of(sftp), "127.0.0.1", "") as server:
        server.entries(str(folder))
        server._channel.process.kill()
        with pytest.raises(StepError) as caught:
            server.entries(str(folder))
    assert (caught.value.code, caught.value.retry_hint) == ("ECONNRESET", None)


def test_nothing_secret_is_left_behind_nor_seen_from_outside(sftp: Account) -> None:
    login = login_of(sftp)
    with channel(login, "127.0.0.1", "") as opened:
        command = Path(f"/proc/{opened.process.pid}/cmdline").read_bytes()
        environment = Path(f"/proc/{opened.process.pid}/environ").read_bytes()
        assert login.password.encode() not in command + environment
        assert all(path.stat().st_mode & 0o077 == 0 for path in (opened.folder, opened.folder / "key"))
        left = opened.folder
    assert not left.exists()


def test_without_the_ssh_client_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.appmixer.utils.ftp.ssh.PATH", "/nowhere")
    account = {"host": "127.0.0.1", "username": "ann", "secure": "sftp"}
    with pytest.raises(StepError, match="openssh-client"):
        step("List", account, {})
