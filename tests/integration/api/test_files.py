"""Files over REST: uploads in parts, lists, content (rest-api.md §6)."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import wiring
from engine.errors import BadRequest
from engine.services.files import Part
from engine.settings import Settings
from tests.integration.api.conftest import Answer, User
from webapp.api import files as routes

SMALL = 200_000


@pytest.fixture(name="settings")
def small_files(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path / "data", secret="a secret of the tests, long enough", file_bytes=SMALL)


def send(
    user: User, content: bytes, number: int | str = 1, total: int | str = 1, *, file_id: str | None = None,
    name: str | None = "a.txt", size: int | str | None = None, form_name: str = "form.bin", kind: str | None = None,
) -> Answer:  # fmt: skip
    headers = {"uploader-chunk-number": str(number), "uploader-chunks-total": str(total)}
    headers["uploader-chunk-size"] = str(len(content) if size is None else size)
    if name is not None:
        headers["uploader-file-name"] = name
    if file_id is not None:
        headers["uploader-file-id"] = file_id
    given = (io.BytesIO(content), form_name, kind) if kind else (io.BytesIO(content), form_name)
    return user.post("/files", headers=headers, data={"file": given}, content_type="multipart/form-data")


def test_a_whole_file_comes_and_goes(ann: User) -> None:
    record = send(ann, b"hello").json
    file_id = record["fileId"]
    assert record == {
        "fileId": file_id,
        "filename": "a.txt",
        "contentType": "text/plain",
        "length": 5,
        "chunkSize": 261_120,
        "md5": hashlib.md5(b"hello").hexdigest(),
        "uploadDate": record["uploadDate"],
        "metadata": {"userId": ann.id, "fileId": file_id},
    }
    assert ann.get(f"/files/metadata/{file_id}").json == record
    assert ann.get("/files").json == [record]
    assert ann.get("/files/count").json == {"count": 1}
    assert ann.get(f"/files/{file_id}").data == b"hello"
    assert ann.delete(f"/files/{file_id}").json == {"fileId": file_id}
    assert ann.get(f"/files/{file_id}").status_code == 404
    assert ann.delete(f"/files/{file_id}").status_code == 404


def test_a_form_without_headers_is_a_whole_file(ann: User) -> None:
    data = {"file": (io.BytesIO(b"%PDF"), "report.pdf")}
    record = ann.post("/files", data=data, content_type="multipart/form-data").json
    assert (record["filename"], record["contentType"], record["length"]) == ("report.pdf", "application/pdf", 4)


def test_parts_make_one_file(ann: User) -> None:
    parts = [b"one ", b"two ", b"three"]
    file_id = send(ann, parts[0], 1, 3, name="x.bin").json["fileId"]
    assert ann.get("/files").json == []
    assert ann.get("/files/count").json == {"count": 0}
    assert send(ann, parts[1], 2, 3, file_id=file_id, name="ignored").json["length"] == 8
    record = send(ann, parts[2], 3, 3, file_id=file_id, name=None).json
    assert (record["filename"], record["length"]) == ("x.bin", 13)
    assert record["md5"] == hashlib.md5(b"".join(parts)).hexdigest()
    assert record["metadata"] == {"userId": ann.id, "fileId": file_id}
    assert ann.get(f"/files/{file_id}").data == b"one two three"
    assert ann.get("/files").json == [record]


def test_a_part_sent_twice_counts_once(ann: User) -> None:
    file_id = send(ann, b"one", 1, 3).json["fileId"]
    for _ in range(3):
        assert send(ann, b"two", 2, 3, file_id=file_id).json["length"] == 6
    assert send(ann, b"one", 1, 3, file_id=file_id).json["length"] == 6
    answer = send(ann, b"TWO", 2, 3, file_id=file_id)
    assert answer.status_code == 400
    assert "part 2 came before with other content" in answer.json["message"]
    send(ann, b"!", 3, 3, file_id=file_id)
    assert ann.get(f"/files/{file_id}").data == b"onetwo!"


def test_parts_out_of_order_are_refused(ann: User) -> None:
    file_id = send(ann, b"one", 1, 3).json["fileId"]
    early = send(ann, b"three", 3, 3, file_id=file_id)
    assert (early.status_code, "part 2 is next" in early.json["message"]) == (400, True)
    other = send(ann, b"two", 2, 4, file_id=file_id)
    assert (other.status_code, "3 parts" in other.json["message"]) == (400, True)
    homeless = send(ann, b"two", 2, 3)
    assert (homeless.status_code, "uploader-file-id" in homeless.json["message"]) == (400, True)
    complete = send(ann, b"x", 1, 1).json["fileId"]
    more = send(ann, b"y", 2, 2, file_id=complete)
    assert (more.status_code, "complete" in more.json["message"]) == (400, True)
    assert ann.get(f"/files/{complete}").data == b"x"


@pytest.mark.parametrize(
    ("number", "total", "size", "says"),
    [
        (0, 1, None, "numbered from 1"),
        (2, 1, None, "numbered from 1"),
        (1, 10_001, None, "at most 10000"),
        ("x", 1, None, "uploader-chunk-number"),
        (1, "-1", None, "uploader-chunks-total"),
        (1, 1, 4, "uploader-chunk-size says 4"),
    ],
)
def test_bad_headers_are_named(ann: User, number: Any, total: Any, size: Any, says: str) -> None:
    answer = send(ann, b"hello", number, total, size=size)
    assert answer.status_code == 400
    assert says in answer.json["message"]


def test_a_form_without_a_file_is_refused(ann: User) -> None:
    answer = ann.post("/files", data={"other": "x"}, content_type="multipart/form-data")
    assert (answer.status_code, "named file" in answer.json["message"]) == (400, True)


def test_a_file_has_a_size(ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    assert send(ann, b"x" * SMALL).status_code == 200
    assert send(ann, b"x" * (SMALL + 1)).status_code == 413
    file_id = send(ann, b"x" * SMALL, 1, 2).json["fileId"]
    assert send(ann, b"y", 2, 2, file_id=file_id).status_code == 413
    monkeypatch.setattr(routes, "FORM_BYTES", 1000)
    assert send(ann, b"x" * (SMALL + 2_000)).status_code == 413


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\docs\\a.txt", "a.txt"),
        ("%C5%BElu%C5%A5.txt", "žluť.txt"),
        ("žluť.txt".encode().decode("latin-1"), "žluť.txt"),
        ("a b.txt", "a b.txt"),
        ("a%00b%0d%0a.txt", "ab.txt"),
        ("x" * 400, "x" * 255),
    ],
)
def test_names_are_made_safe(ann: User, sent: str, stored: str) -> None:
    assert send(ann, b"x", name=sent).json["filename"] == stored


def test_names_that_are_none(ann: User) -> None:
    assert send(ann, b"x", name="..").status_code == 400
    assert send(ann, b"x", name="/").status_code == 400


def test_content_never_runs_as_a_page(ann: User) -> None:
    page = send(ann, b"<script>", name='e"v;il ž.html', kind="text/html").json["fileId"]
    answer = ann.get(f"/files/{page}")
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    assert "\n" not in answer.headers["Content-Disposition"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"].startswith("sandbox;")
    picture = send(ann, b"<svg onload='x'/>", name="a.svg", kind="image/svg+xml").json["fileId"]
    answer = ann.get(f"/files/{picture}")
    assert answer.headers["Content-Disposition"].startswith("inline;")
    assert answer.headers["Content-Security-Policy"].startswith("sandbox;")
    assert send(ann, b"x", name="a.txt", kind="text/html\x7f<b>").json["contentType"] == "text/plain"


@pytest.mark.parametrize("kind", ["text/html\r\nX-Evil: 1", "žluť/x", "", "image/png\n", "nonsense"])
def test_whatever_type_a_step_gave_a_file_it_can_be_read(ann: User, platform: wiring.Platform, kind: str) -> None:
    file = platform.files.save("a", b"<script>", content_type=kind, metadata={"userId": ann.id})
    answer = ann.get(f"/files/{file.file_id}")
    assert (answer.status_code, answer.data) == (200, b"<script>")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    assert "X-Evil" not in answer.headers


def test_content_in_ranges_and_unchanged(ann: User) -> None:
    file_id = send(ann, b"0123456789").json["fileId"]
    part = ann.get(f"/files/{file_id}", headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.data, part.headers["Content-Range"]) == (206, b"234", "bytes 2-4/10")
    whole = ann.get(f"/files/{file_id}")
    assert whole.headers["Content-Length"] == "10"
    again = ann.get(f"/files/{file_id}", headers={"If-None-Match": whole.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_lists_take_the_list_parameters(ann: User) -> None:
    for name in ("a.txt", "b.csv", "c.txt"):
        send(ann, name.encode() * 3, name=name)
    assert [f["filename"] for f in ann.get("/files?sort=filename:-1&limit=2").json] == ["c.txt", "b.csv"]
    assert [f["filename"] for f in ann.get("/files?filter=filename:$.txt&sort=filename:1").json] == ["a.txt", "c.txt"]
    assert ann.get("/files?projection=filename&sort=filename:1&limit=1").json == [{"filename": "a.txt"}]
    assert ann.get("/files/count?filter=uploadDate:>2020-01-01T00:00:00Z").json == {"count": 3}
    assert ann.get("/files/count?filter=uploadDate:<2020-01-01T00:00:00Z").json == {"count": 0}
    assert ann.get("/files/count?filter=uploadDate:>999999999999999").status_code == 400
    assert ann.get("/files/count?filter=contentType:text/csv&includeComponentSourceFiles=true").json == {"count": 1}


def test_deleting_what_matches(ann: User, bob: User) -> None:
    for user in (ann, bob):
        for name in ("a.txt", "b.csv", "c.txt"):
            send(user, b"x", name=name)
    assert ann.delete("/files").status_code == 400
    assert ann.delete("/files?filter=filename:$.txt").json == {"deletedCount": 2}
    assert [f["filename"] for f in ann.get("/files").json] == ["b.csv"]
    assert ann.delete("/files?filter=filename:~.").json == {"deletedCount": 1}
    assert bob.get("/files/count").json == {"count": 3}


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/files/{id}"), ("GET", "/files/metadata/{id}"), ("DELETE", "/files/{id}")],
)
def test_what_is_not_yours_does_not_exist(
    ann: User, stranger: User, admin: User, nobody: User, method: str, path: str
) -> None:
    file_id = send(ann, b"secret").json["fileId"]
    for user in (stranger, admin):
        answer = user.call(method, path.replace("{id}", file_id))
        assert answer.status_code == 404
        assert "secret" not in answer.text
    assert nobody.call(method, path.replace("{id}", file_id)).status_code == 401
    assert stranger.get("/files").json == []
    assert stranger.get(f"/files?filter=metadata.userId:{ann.id}").json == []
    assert ann.get(f"/files/{file_id}").data == b"secret"


def test_nobody_appends_to_your_upload(ann: User, stranger: User, nobody: User) -> None:
    file_id = send(ann, b"one", 1, 2).json["fileId"]
    assert send(stranger, b"two", 2, 2, file_id=file_id).status_code == 404
    assert send(nobody, b"one").status_code == 401


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.binary(min_size=1, max_size=9), min_size=2, max_size=5), order=st.lists(st.integers(1, 5)))
def test_any_order_of_parts_gives_the_file_or_an_error(
    platform: wiring.Platform, parts: list[bytes], order: list[int]
) -> None:
    service = platform.file_service
    total = len(parts)
    file_id = service.upload("u", Part("f", 1, total, None, None, None), io.BytesIO(parts[0])).file_id
    done = 1
    for number in [*order, *range(1, total + 1)]:
        if done == total or number > total:
            continue
        part, content = Part("f", number, total, None, None, file_id), io.BytesIO(parts[number - 1])
        if number > done + 1:
            with pytest.raises(BadRequest, match="too early"):
                service.upload("u", part, content)
        else:
            service.upload("u", part, content)
            done = max(done, number)
    record, stored = service.open("u", file_id)
    with stored:
        assert stored.read() == b"".join(parts)
    assert "upload" not in record.metadata
