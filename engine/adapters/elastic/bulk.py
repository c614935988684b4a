"""Writing to the search server in bulk: nothing is lost, and one record nobody can store holds up no other."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from engine.adapters.elastic.connection import BULK_SECONDS, BUSY, CODE, Backoff, Connection, reason_of
from engine.adapters.elastic.document import action, without_payload
from engine.adapters.runlog.fields import mended
from engine.errors import HeadraceError, TimedOut, Unavailable
from engine.ports import Doc

log = logging.getLogger(__name__)

BYTES = 5_000_000
"""Of one request."""

_STORED = 409
"""There is a document of that id already."""

_LATER = (429, 500, 502, 503, 504)
_REFUSED = (400, 413)
_ANSWER = "errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by"


@dataclass(slots=True)
class _Item:
    """A record on its way. `tries` is how often its contents were refused."""

    record: Doc
    lines: bytes
    tries: int = 0


def store(connection: Connection, index: str, records: Sequence[Doc]) -> None:
    """Store those not stored yet. Raises Unavailable: some or all may be stored then, and may be stored again."""
    for chunk in _chunks(_item(record) for record in records):
        left, backoff = chunk, Backoff()
        while left:
            left, why = _send(connection, index, left)
            if why and backoff.over:
                raise Unavailable(f"search server: {len(left)} records are not taken: {why}", code=CODE)
            if why:
                backoff.wait()


def _item(record: Doc) -> _Item:
    try:
        return _Item(record, action(record))
    except (TypeError, AttributeError, ValueError, OverflowError) as error:
        log.warning("mending a log record", extra={"action": "log_mended", "reason": str(error)[:200]})
        return _Item(record, action(mended(record)), 1)


def _chunks(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    chunk: list[_Item] = []
    size = 0
    for item in items:
        if chunk and size + len(item.lines) > BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(item)
        size += len(item.lines)
    if chunk:
        yield chunk


def _send(connection: Connection, index: str, items: list[_Item]) -> tuple[list[_Item], str]:
    """What is still to be stored, and why a pause is needed before ("" for none)."""
    body = b"".join(item.lines for item in items)
    try:
        answer = connection.call(
            "POST", f"/{index}/_bulk", body, ndjson=True, seconds=BULK_SECONDS, filter_path=_ANSWER
        )
    except Unavailable as error:
        if error.code != BUSY:
            raise
        return items, error.message
    except TimedOut as error:
        raise Unavailable(f"search server: {error.message}", code=CODE) from error
    except HeadraceError as error:
        raise Unavailable(f"search server: a bulk request was refused: {error.message}", code=CODE) from error
    if not answer.get("errors"):
        return [], ""
    return _again(items, answer["items"])


def _again(items: list[_Item], answers: list[Doc]) -> tuple[list[_Item], str]:
    left: list[_Item] = []
    why = ""
    for item, answer in zip(items, answers, strict=True):
        ((_, told),) = answer.items()
        status = told["status"]
        if status < 300 or status == _STORED:
            continue
        reason = reason_of(told)
        if status in _REFUSED:
            left += _simpler(item, reason)
        elif status in _LATER:
            why = reason
            left.append(item)
        else:  # no index, no right, a full disk: nothing that another form of the record would change
            raise Unavailable(f"search server: a record is not taken ({status}): {reason}", code=CODE)
    return left, why


def _simpler(item: _Item, reason: str) -> list[_Item]:
    """The next form of a record whose contents are refused; none when there is no simpler one."""
    told = {"action": "log_refused", "id": item.record["id"], "reason": reason}
    if item.tries == 0:
        log.warning("a log record is refused as it is", extra=told)
        return [_Item(item.record, action(mended(item.record)), 1)]
    if item.tries == 1:
        log.warning("a log record is stored without its contents", extra=told)
        return [_Item(item.record, action(without_payload(item.record, reason)), 2)]
    log.error("a log record cannot be stored", extra=told)  # it must not hold up all that follow
    return []


def delete(connection: Connection, index: str, ids: Sequence[str]) -> int:
    """Delete by document id; how many were there. Raises Unavailable."""
    lines = b"".join(b'{"delete":{"_id":%b}}\n' % orjson.dumps(id_) for id_ in ids)
    answer: dict[str, Any] = connection.call(
        "POST", f"/{index}/_bulk", lines, ndjson=True, seconds=BULK_SECONDS, filter_path=_ANSWER
    )
    statuses = [told["status"] for item in answer["items"] for told in item.values()]
    return sum(1 for status in statuses if status < 300)
