"""Contents of files in MongoDB that are no longer, or not yet, those of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.adapters.mongo.connection import Mongo
from engine.adapters.mongo.contents import CHUNK, READ_MS, UPLOAD_MS, Contents
from engine.adapters.mongo.files import MongoFiles
from engine.errors import Unavailable
from engine.model.file import FileRecord
from tests.integration.mongo.conftest import StandingClock

LIMIT = 50_000_000


@pytest.fixture
def files(mongo: Mongo, clock: StandingClock) -> MongoFiles:
    return MongoFiles(mongo, clock, LIMIT)


def save(files: MongoFiles, content: bytes | Iterator[bytes]) -> FileRecord:
    return files.save("a.txt", content, content_type="text/plain", metadata={}, file_id="f1")


def chunks(mongo: Mongo) -> int:
    return mongo.database["contents.chunks"].count_documents({})


def leftovers(mongo: Mongo) -> int:
    return mongo.database["contents.leftovers"].count_documents({})


def test_a_former_content_goes_after_an_hour(mongo: Mongo, files: MongoFiles, clock: StandingClock) -> None:
    save(files, b"x" * 3 * CHUNK)
    with files.open("f1") as reader:
        assert reader.read(1) == b"x"
        save(files, b"new")
        assert (chunks(mongo), leftovers(mongo)) == (4, 1)
        clock.ms += READ_MS - 1
        files.append("f1", b" and more")
        assert reader.read() == b"x" * (3 * CHUNK - 1)
    clock.ms += 60_000
    files.append("f1", b"!")
    assert chunks(mongo) == 3, "what the appends replaced is kept for its readers"
    clock.ms += READ_MS
    assert files.delete("f1")
    assert (chunks(mongo), leftovers(mongo)) == (1, 1)
    clock.ms += READ_MS
    save(files, b"")
    assert (chunks(mongo), leftovers(mongo), mongo.database["contents.files"].count_documents({})) == (0, 0, 0)


def test_what_a_crash_left_goes_after_a_day(mongo: Mongo, clock: StandingClock) -> None:
    files = MongoFiles(mongo, clock, LIMIT)
    contents = Contents(mongo, clock, LIMIT)
    contents.write(b"x" * 40 * CHUNK)  # and nobody goes on
    clock.ms += UPLOAD_MS - 1
    contents.sweep()
    assert chunks(mongo) == 40
    clock.ms += 60_001
    contents.sweep()
    assert (chunks(mongo), leftovers(mongo)) == (0, 0)
    save(files, b"x")
    MongoFiles(mongo, clock, LIMIT)
    assert chunks(mongo) == 1


def test_a_content_that_was_removed_as_a_leftover_cannot_become_a_file(
    mongo: Mongo, files: MongoFiles, clock: StandingClock
) -> None:
    def slow() -> Iterator[bytes]:
        yield b"x" * 20 * CHUNK
        clock.ms += UPLOAD_MS
        Contents(mongo, clock, LIMIT).sweep()
        yield b"end"

    save(files, b"old")
    with pytest.raises(Unavailable, match="too long"):
        save(files, slow())
    with files.open("f1") as reader:
        assert reader.read() == b"old"


def test_a_failed_upload_leaves_nothing(mongo: Mongo, files: MongoFiles) -> None:
    def broken() -> Iterator[bytes]:
        yield b"x" * 20 * CHUNK
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        save(files, broken())
    assert (chunks(mongo), leftovers(mongo)) == (0, 0)


def test_small_appends_do_not_make_many_parts(mongo: Mongo, files: MongoFiles, clock: StandingClock) -> None:
    save(files, b"")
    for number in range(30):
        files.append("f1", b"%09d\n" % number)
    files.append("f1", b"x" * CHUNK)
    files.append("f1", b"end")
    assert len((mongo.database["files"].find_one({"_id": "f1"}) or {})["parts"]) == 2
    with files.open("f1") as reader:
        content = reader.read()
        assert content == b"".join(b"%09d\n" % number for number in range(30)) + b"x" * CHUNK + b"end"
        reader.seek(295)
        assert reader.read(10) == b"0029\nxxxxx"
    another = MongoFiles(mongo, clock, LIMIT)  # knows no digest of it
    assert another.append("f1", b"").md5 == files.info("f1").md5


def test_tools_for_gridfs_can_read_it(mongo: Mongo, files: MongoFiles) -> None:
    from gridfs import GridFSBucket

    content = bytes(range(256)) * 5_000
    save(files, content)
    bucket = GridFSBucket(mongo.database, "contents")
    (found,) = list(bucket.find({"filename": "a.txt"}))
    assert found.read() == content
