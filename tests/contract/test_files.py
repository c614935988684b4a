"""Contract of `ports.Files`."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import BadRequest, Conflict, NotFound, TooLarge
from engine.model.file import FileRecord
from engine.ports import Files, Query, Where

Together = Callable[..., list[Any]]
TOO_MUCH = 4_000_001  # one more than the suite's adapters allow


def save(files: Files, content: Any = b"hello", **given: Any) -> FileRecord:
    return files.save(
        given.pop("filename", "a.txt"), content, content_type="text/plain", metadata={"userId": "u1"}, **given
    )


def load(files: Files, file_id: str) -> bytes:
    with files.open(file_id) as file:
        return file.read()


def test_a_file_comes_back(files: Files) -> None:
    record = save(files, b"hello", created=1_700_000_000_123)
    assert (record.filename, record.content_type, record.length) == ("a.txt", "text/plain", 5)
    assert record.md5 == hashlib.md5(b"hello").hexdigest()
    assert record.upload_date == 1_700_000_000_123
    assert record.metadata == {"userId": "u1"}
    assert files.info(record.file_id) == record
    assert load(files, record.file_id) == b"hello"


def test_ids_are_made_or_given(files: Files) -> None:
    first, second = save(files), save(files)
    assert first.file_id != second.file_id
    assert save(files, file_id="mine-1").file_id == "mine-1"


def test_content_may_be_bytes_a_stream_or_pieces(files: Files) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"ab"
        yield b""
        yield b"cd"

    for content in (b"abcd", io.BytesIO(b"abcd"), pieces(), [b"abcd"]):
        record = save(files, content)
        assert load(files, record.file_id) == b"abcd"
        assert record.md5 == hashlib.md5(b"abcd").hexdigest()


def test_an_empty_file(files: Files) -> None:
    record = save(files, b"")
    assert record.length == 0
    assert load(files, record.file_id) == b""


def test_a_large_file_can_be_read_in_parts(files: Files) -> None:
    content = bytes(range(256)) * 4_000
    file_id = save(files, io.BytesIO(content)).file_id
    with files.open(file_id) as file:
        assert file.read(10) == content[:10]
        file.seek(500_000)
        assert file.read(300_000) == content[500_000:800_000]
        file.seek(-5, io.SEEK_END)
        assert file.read() == content[-5:]


def test_saving_a_known_id_replaces_content_and_record(files: Files) -> None:
    save(files, b"old", file_id="f1", created=5)
    record = save(files, b"newer", file_id="f1", filename="b.txt", created=9)
    assert files.info("f1") == record
    assert (record.filename, record.length, record.upload_date) == ("b.txt", 5, 9)
    assert load(files, "f1") == b"newer"
    assert files.count(Query()) == 1


def test_replace_keeps_id_name_type_and_metadata(files: Files) -> None:
    before = save(files, b"old")
    after = files.replace(before.file_id, iter([b"new ", b"content"]))
    assert (after.file_id, after.filename, after.metadata) == (before.file_id, before.filename, before.metadata)
    assert after.md5 == hashlib.md5(b"new content").hexdigest()
    assert load(files, before.file_id) == b"new content"


def test_append_adds_to_the_end(files: Files) -> None:
    file_id = save(files, b"a").file_id
    files.append(file_id, b"bc")
    files.append(file_id, b"")
    record = files.append(file_id, b"d")
    assert (record.length, record.md5) == (4, hashlib.md5(b"abcd").hexdigest())
    assert load(files, file_id) == b"abcd"


def test_a_reader_keeps_what_it_opened(files: Files) -> None:
    file_id = save(files, b"first").file_id
    with files.open(file_id) as reader:
        files.append(file_id, b" more")
        assert reader.read(2) == b"fi"
        files.replace(file_id, b"second")
        assert reader.read() == b"rst"
        files.delete(file_id)
        reader.seek(0)
        assert reader.read() == b"first"


def test_metadata_is_merged_and_none_removes(files: Files) -> None:
    file_id = save(files).file_id
    files.update_metadata(file_id, {"originFlowId": "f", "deep": {"a": 1}})
    record = files.update_metadata(file_id, {"deep": None})
    assert record.metadata == {"userId": "u1", "originFlowId": "f"}
    assert files.info(file_id) == record
    assert load(files, file_id) == b"hello"


def test_delete(files: Files) -> None:
    file_id = save(files).file_id
    assert files.delete(file_id) is True
    assert files.delete(file_id) is False


@pytest.mark.parametrize("file_id", ["gone", "", "../../etc/passwd", "a/b", "ü", "x" * 500])
def test_an_unknown_file_is_not_found(files: Files, file_id: str) -> None:
    acts: list[Callable[[], object]] = [
        lambda: files.info(file_id),
        lambda: files.open(file_id),
        lambda: files.append(file_id, b"x"),
        lambda: files.replace(file_id, b"x"),
        lambda: files.update_metadata(file_id, {}),
    ]
    for act in acts:
        with pytest.raises(NotFound):
            act()
    assert files.delete(file_id) is False


@pytest.mark.parametrize("file_id", ["", "../x", "a/b", "a.b", "ü", "x" * 500, "a\n"])
def test_an_odd_id_is_refused(files: Files, file_id: str) -> None:
    with pytest.raises(BadRequest, match="file id"):
        save(files, file_id=file_id)


def test_too_much_is_refused_and_leaves_the_old_content(files: Files) -> None:
    file_id = save(files, b"old").file_id
    with pytest.raises(TooLarge):
        files.replace(file_id, (b"x" * 100_000 for _ in range(41)))
    with pytest.raises(TooLarge):
        files.append(file_id, b"x" * TOO_MUCH)
    with pytest.raises(TooLarge):
        save(files, b"x" * TOO_MUCH, file_id="new")
    assert load(files, file_id) == b"old"
    with pytest.raises(NotFound):
        files.info("new")


def test_text_is_refused(files: Files) -> None:
    with pytest.raises(BadRequest, match="bytes"):
        save(files, ["text"])


def test_metadata_must_be_json(files: Files) -> None:
    with pytest.raises(BadRequest):
        files.save("a", b"x", content_type="text/plain", metadata={"x": object()}, file_id="bad")
    with pytest.raises(NotFound):
        files.info("bad")


def test_a_source_that_breaks_off_leaves_the_old_content(files: Files) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    file_id = save(files, b"old").file_id
    with pytest.raises(ConnectionResetError):
        files.replace(file_id, broken())
    assert load(files, file_id) == b"old"


def test_find_uses_the_paths_of_the_record(files: Files) -> None:
    for number, (name, user) in enumerate([("b.csv", "u1"), ("a.csv", "u1"), ("a.txt", "u2")]):
        files.save(name, b"x" * number, content_type="text/csv", metadata={"userId": user}, file_id=f"f{number}")
    mine = Query((Where("metadata.userId", "eq", "u1"),), sort=(("filename", 1),))
    assert [record.filename for record in files.find(mine)] == ["a.csv", "b.csv"]
    assert files.find(mine)[0] == files.info("f1")
    csv = Query((Where("filename", "regex", r"\.csv$"), Where("length", "gt", 0)), limit=5)
    assert [record.file_id for record in files.find(csv)] == ["f1"]
    assert files.count(Query((Where("metadata.userId", "eq", "u1"),), limit=1)) == 2
    with pytest.raises(BadRequest):
        files.find(Query((Where("a..b", "eq", 1),)))


def test_the_metadata_shown_names_the_file(files: Files) -> None:
    record = save(files, file_id="f1")
    assert record.to_json()["metadata"] == {"userId": "u1", "fileId": "f1"}
    assert files.count(Query((Where("metadata.fileId", "eq", "f1"),))) == 1


def test_appends_from_many_threads_are_all_there(files: Files, together: Together) -> None:
    file_id = save(files, b"").file_id
    together(lambda who: [files.append(file_id, f"{who};".encode()) for _ in range(10)], threads=4)
    content = load(files, file_id)
    assert sorted(content.decode().split(";")) == sorted(["", *(str(who) for who in range(4) for _ in range(10))])
    record = files.info(file_id)
    assert (record.length, record.md5) == (len(content), hashlib.md5(content).hexdigest())


def test_readers_never_see_a_mixture(files: Files, together: Together) -> None:
    size = 300_000
    file_id = save(files, b"0" * size).file_id

    def work(who: int) -> None:
        for _ in range(8):
            if who < 2:
                files.replace(file_id, str(who).encode() * size)
            else:
                content = load(files, file_id)
                assert len(content) == size
                assert len(set(content)) == 1

    together(work, threads=5)


def never() -> Iterator[bytes]:
    raise AssertionError("the content of a repeated operation must not be read")
    yield b""  # a generator: it fails when read, not when made


def test_a_repeated_operation_changes_nothing(files: Files) -> None:
    file_id = save(files, b"a", file_id="f1", op_id="m1:1").file_id
    files.append(file_id, b"b", op_id="m2:1")
    record = files.replace(file_id, [b"abc"], op_id="m3:1")
    for repeated in (
        files.append(file_id, b"b", op_id="m2:1"),
        files.replace(file_id, never(), op_id="m3:1"),
        files.replace(file_id, never(), op_id="m2:1"),
        save(files, never(), file_id="f1", filename="other.txt", op_id="m1:1"),
        files.append(file_id, b"b", op_id="m2:1", expect="what was read is long gone"),
    ):
        assert repeated == record
    assert load(files, file_id) == b"abc"
    assert files.append(file_id, b"d", op_id="m2:2").length == 4


def test_an_operation_counts_for_its_own_file(files: Files) -> None:
    for name in ("f1", "f2"):
        save(files, b"", file_id=name)
        files.append(name, b"x", op_id="m1:1")
    assert (load(files, "f1"), load(files, "f2")) == (b"x", b"x")


def test_an_operation_that_failed_may_be_repeated(files: Files) -> None:
    file_id = save(files, b"old").file_id
    with pytest.raises(TooLarge):
        files.replace(file_id, b"x" * TOO_MUCH, op_id="m1:1")
    with pytest.raises(Conflict):
        files.append(file_id, b"x", op_id="m1:1", expect="another")
    files.append(file_id, b" and new", op_id="m1:1")
    assert load(files, file_id) == b"old and new"


def test_operations_are_forgotten_after_an_hour(files: Files, pass_time: Callable[[int], None]) -> None:
    file_id = save(files, b"").file_id
    files.append(file_id, b"x", op_id="m1:1")
    pass_time(3_599_000)
    files.append(file_id, b"x", op_id="m1:1")
    assert load(files, file_id) == b"x"
    pass_time(2_000)
    files.append(file_id, b"x", op_id="m1:1")
    assert load(files, file_id) == b"xx"


def test_a_deleted_file_does_not_come_back_by_repetition(files: Files) -> None:
    file_id = save(files, b"a").file_id
    files.append(file_id, b"b", op_id="m1:1")
    files.delete(file_id)
    acts: list[Callable[[], object]] = [
        lambda: files.append(file_id, b"b", op_id="m1:1"),
        lambda: files.replace(file_id, b"", op_id="m1:1"),
    ]
    for act in acts:
        with pytest.raises(NotFound):
            act()


def test_a_change_of_other_content_than_was_read_is_a_conflict(files: Files) -> None:
    read = save(files, b"a")
    file_id = read.file_id
    changed = files.append(file_id, b"b", expect=read.md5)
    acts: list[Callable[[], object]] = [
        lambda: files.append(file_id, b"c", expect=read.md5),
        lambda: files.replace(file_id, b"c", expect=read.md5),
    ]
    for act in acts:
        with pytest.raises(Conflict, match=file_id) as caught:
            act()
        assert caught.value.retryable
    assert load(files, file_id) == b"ab"
    files.replace(file_id, b"c", expect=changed.md5)
    assert load(files, file_id) == b"c"


def test_of_several_writers_that_read_the_same_only_one_succeeds(files: Files, together: Together) -> None:
    read = save(files, b"start")

    def work(who: int) -> bool:
        try:
            if who % 2:
                files.append(read.file_id, str(who).encode(), expect=read.md5)
            else:
                files.replace(read.file_id, [str(who).encode()], expect=read.md5)
        except Conflict:
            return False
        return True

    assert together(work, threads=6).count(True) == 1


def test_a_file_may_be_changed_while_a_replacement_is_read(files: Files) -> None:
    read = save(files, b"start")

    def content() -> Iterator[bytes]:
        yield b"new"
        files.append(read.file_id, b" more")

    with pytest.raises(Conflict):
        files.replace(read.file_id, content(), expect=read.md5)
    assert load(files, read.file_id) == b"start more"


def test_one_operation_by_several_at_a_time_happens_once(files: Files, together: Together) -> None:
    file_id = save(files, b"").file_id
    together(lambda who: files.append(file_id, b"x", op_id="m1:1"), threads=6)
    assert load(files, file_id) == b"x"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.sampled_from(["save", "replace", "append"]), st.binary(max_size=40)), max_size=8),
)
def test_any_sequence_of_writes_reads_back(files: Files, steps: list[tuple[str, bytes]]) -> None:
    content = b"start"
    save(files, content, file_id="prop")
    for verb, piece in steps:
        content = content + piece if verb == "append" else piece
        if verb == "save":
            record = save(files, piece, file_id="prop")
        else:
            record = files.replace("prop", piece) if verb == "replace" else files.append("prop", piece)
        assert record == files.info("prop")
        assert record.md5 == hashlib.md5(content).hexdigest()
        assert load(files, "prop") == content


def test_the_day_of_the_last_use_is_known(files: Files, pass_time: Callable[[int], None]) -> None:
    day = 86_400_000
    made = save(files, file_id="a", created=1)
    uses: tuple[Callable[[], object], ...] = (
        lambda: load(files, "a"),
        lambda: files.append("a", b"x"),
        lambda: files.replace("a", b"y"),
    )
    for number, use in enumerate(uses, 1):
        pass_time(2 * day)
        use()
        assert files.info("a").used == made.used + number * 2 * day
    pass_time(1000)
    load(files, "a")
    assert files.info("a").used == made.used + 6 * day, "not written again within a day"
    later = made.used + 6 * day + 1
    assert [f.file_id for f in files.find(Query(where=(Where("used", "lt", later),), sort=(("used", 1),)))] == ["a"]
    assert "used" not in files.info("a").to_json()


def test_sizes_are_added_up(files: Files) -> None:
    save(files, b"x" * 100)
    save(files, b"x" * 20, filename="b.txt")
    assert files.total_bytes() == 120
    assert files.total_bytes((Where("filename", "eq", "b.txt"),)) == 20
    assert files.total_bytes((Where("filename", "eq", "none"),)) == 0
