"""The connection to MongoDB, and what its errors mean to us.

All writes are acknowledged by a majority and journaled: claims, ledger entries and settlements depend
on them, and a second way of writing would have to be kept apart everywhere. Reads come from the
primary and see what a majority has: nothing that a failover could take back.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pymongo
from bson import Decimal128, Int64
from bson.codec_options import CodecOptions, TypeDecoder, TypeRegistry
from bson.errors import BSONError
from pymongo import MongoClient, WriteConcern, errors
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.read_concern import ReadConcern
from pymongo.uri_parser import parse_uri

from engine.errors import BadRequest, Conflict, HeadraceError, TooLarge, Unavailable
from engine.ports import Doc

T = TypeVar("T")

STORAGE = "STORAGE"
DATABASE = "headrace"
"""Used when the URL names none."""

TRANSACTION_SECONDS = 10.0
_WRITES = WriteConcern(w="majority", j=True, wtimeout=30_000)
_READS = ReadConcern("majority")
_DEFAULTS = {  # milliseconds; a URL may set others
    "serverSelectionTimeoutMS": 5_000,
    "connectTimeoutMS": 5_000,
    "socketTimeoutMS": 120_000,
    "waitQueueTimeoutMS": 10_000,
    "heartbeatFrequencyMS": 5_000,
    "maxPoolSize": 200,
    "appname": "headrace",
}


class _Int64(TypeDecoder):
    """The driver's own type of number is not an `int` to libraries that look closely."""

    bson_type = Int64
    transform_bson = int  # type: ignore[assignment]


class _BigInt(TypeDecoder):
    """Whole numbers from 2^63 on, see encoding.py."""

    bson_type = Decimal128

    def transform_bson(self, value: Decimal128) -> int:
        return int(value.to_decimal())


_CODEC: CodecOptions[Doc] = CodecOptions(dict, type_registry=TypeRegistry([_Int64(), _BigInt()]))


class Mongo:
    """A database. The driver's client is made when it is first needed, and anew in a forked process."""

    def __init__(self, url: str, *, database: str | None = None) -> None:
        self._url = url
        self._name = database
        self._lock = threading.Lock()
        self._client: MongoClient[Doc] | None = None
        self._pid = 0
        self._closed = False

    @property
    def client(self) -> MongoClient[Doc]:
        if self._closed:
            raise Unavailable("the connection to MongoDB is closed", code=STORAGE)
        if self._client is None or self._pid != os.getpid():
            with self._lock:
                if self._client is None or self._pid != os.getpid():
                    self._client, self._pid = _client(self._url), os.getpid()
        return self._client

    @property
    def database(self) -> Database[Doc]:
        client = self.client
        if self._name is None:
            self._name = client.get_default_database(DATABASE).name
        return client.get_database(self._name, codec_options=_CODEC)

    def transaction(
        self, work: Callable[[ClientSession], T], *, seconds: float = TRANSACTION_SECONDS, what: str = "MongoDB"
    ) -> T:
        """All that `work` does with its session, or nothing; on a conflict it is called again.

        Raises Unavailable after `seconds`, or what `work` raises.
        """
        with translated(what), pymongo.timeout(seconds), self.client.start_session() as session:
            return session.with_transaction(work, ReadConcern("snapshot"), WriteConcern(w="majority", j=True))

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._client is not None and self._pid == os.getpid():
                self._client.close()


def connect(url: str, *, database: str | None = None) -> Mongo:
    """`url` as MongoDB's drivers take it; without a database in it, `database` or "headrace" is used.

    Raises HeadraceError for a URL that cannot be read. Nothing is connected yet.
    """
    try:
        if not url.startswith("mongodb+srv:"):  # reading that one asks the name server
            parse_uri(url)
    except (ValueError, errors.PyMongoError) as error:
        raise HeadraceError(f"the URL of MongoDB cannot be read: {error}", code=STORAGE) from error
    return Mongo(url, database=database)


def _client(url: str) -> MongoClient[Doc]:
    with translated("MongoDB"):
        given = {name.lower() for name in parse_uri(url)["options"]}
        defaults: dict[str, Any] = {name: value for name, value in _DEFAULTS.items() if name.lower() not in given}
        return MongoClient(
            url,
            document_class=dict,
            w="majority",
            journal=True,
            wTimeoutMS=_WRITES.document["wtimeout"],
            readConcernLevel=_READS.level,
            readPreference="primary",
            retryWrites=True,
            retryReads=True,
            **defaults,
        )


# -- errors

_DUPLICATE = 11000
_TOO_LARGE = (10334, 17419, 17420)
_TOO_MUCH = 388
_INCOMPARABLE = (2, 16_746)
_TRANSIENT = {
    6, 7, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436,  # the server goes, or is not primary
    13, 18, 8000,  # who may do what is being changed
    50, 64, 112, 251, 256,  # out of time; write concern; conflicts
    14031,  # the disk is full
}  # fmt: skip

Meaning = Callable[[Any, str], HeadraceError]


def _unavailable(error: Exception, what: str) -> HeadraceError:
    return Unavailable(f"{what}: {_first_line(error)}", code=STORAGE)


def _duplicate(error: Any, what: str) -> HeadraceError:
    return Conflict(f"{what}: another document has the same {duplicate_field(error) or 'id'}", code="DUPLICATE")


def _too_large(error: Exception, what: str) -> HeadraceError:
    return TooLarge(f"{what}: a document may have 16 megabytes at most")


def _by_code(error: errors.OperationFailure, what: str) -> HeadraceError:
    code = error.code or 0
    if code == _DUPLICATE:
        return _duplicate(error, what)
    if code in _TOO_LARGE:
        return _too_large(error, what)
    if code == _TOO_MUCH:
        return TooLarge(f"{what}: too much to change at once; give MongoDB a larger cache, see docs/operating.md")
    if code in _TRANSIENT or error.has_error_label("TransientTransactionError"):
        return _unavailable(error, what)
    if code in _INCOMPARABLE:
        return BadRequest(f"{what}: {_first_line(error)}")
    return HeadraceError(f"{what}: {_first_line(error)}", code=STORAGE)


def _of_many(error: errors.BulkWriteError, what: str) -> HeadraceError:
    details = error.details or {}
    for failed in details.get("writeErrors", ()):
        return _by_code(errors.OperationFailure(failed["errmsg"], failed["code"], failed), what)
    return _unavailable(error, what)  # only the acknowledgement by a majority is missing


_MEANINGS: tuple[tuple[type[Exception], Meaning], ...] = (
    (errors.ConnectionFailure, _unavailable),  # lost, timed out, not primary, no server found, pool exhausted
    (errors.WriteConcernError, _unavailable),  # not yet with a majority
    (errors.ExecutionTimeout, _unavailable),
    (errors.CursorNotFound, _unavailable),
    (errors.InvalidOperation, _unavailable),  # the client was closed
    (errors.DuplicateKeyError, _duplicate),
    (errors.BulkWriteError, _of_many),
    (errors.OperationFailure, _by_code),
    (errors.DocumentTooLarge, _too_large),
    (BSONError, lambda error, what: BadRequest(f"{what} cannot be stored: {_first_line(error)}")),
    (errors.PyMongoError, lambda error, what: HeadraceError(f"{what}: {_first_line(error)}", code=STORAGE)),
)


def translate(error: Exception, what: str) -> HeadraceError:
    """A driver's error as ours, naming `what` was worked on; the first class that fits says how."""
    return next(meaning(error, what) for kind, meaning in _MEANINGS if isinstance(error, kind))


@contextmanager
def translated(what: str) -> Iterator[None]:
    try:
        yield
    except (errors.PyMongoError, BSONError) as error:
        raise translate(error, what) from error


def duplicate_field(error: errors.OperationFailure) -> str:
    """The field of the unique index that refused a write; "" for the id."""
    details: Any = error.details or {}
    names = [name for name in details.get("keyPattern", {}) if name != "_id"]
    return ", ".join(names)


def _first_line(error: Exception) -> str:
    """Without the driver's description of all servers and the whole answer."""
    text = str(getattr(error, "_message", None) or error)
    return text.partition(", full error:")[0].partition(", Timeout: ")[0].partition("\n")[0][:500]
