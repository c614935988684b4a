"""The bus in one SQLite file: a durable queue with a window of it in memory.

Every message is a row until it is settled; a settlement deletes the row and stores all it
caused in one transaction. Rows are handed out from memory. Of each flow the oldest messages are
there; the others stay on disk and are read in when the flow has few left, in the order of `seq`.
So a flow with a long queue delays no other one. After a crash the rows that are left are handed
out again.

Log records travel the same way: they are rows of `log_queue` until the indexer has them.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import orjson
import sqlalchemy as sa

from engine.adapters.embedded.database import Database, Rows
from engine.adapters.embedded.documents import delete_sql, put_sql
from engine.adapters.embedded.documents import encode as encode_doc
from engine.adapters.embedded.fairness import RoundRobin
from engine.adapters.embedded.state import change
from engine.errors import Unavailable
from engine.model.message import Message, decode, encode
from engine.ports import Delivery, LogBatch, Settlement, StateChange, Write

log = logging.getLogger(__name__)

WINDOW = 10_000
"""Messages in memory beyond which a flow gets no more than FEW of its own."""

FLOW_WINDOW = 1_000
"""Messages of one flow in memory."""

FEW = 5
READ_IN = 500
"""Messages of a flow read in at a time: others wait meanwhile."""

PACE = 0.002
"""Seconds between two messages of long queues while other flows have something to do: the interpreter is one."""

HOLD = 0.25
"""Seconds a step that goes on filling such a queue is held up meanwhile: its commits are the longest."""

LATELY = 0.25
"""Seconds after which other flows count as quiet."""

LOG_WINDOW = 8_000
TAKE = 500

_INSERT = "INSERT OR IGNORE INTO queue (seq, id, flow_id, data) VALUES (?, ?, ?, ?)"
_TAKE = "SELECT seq, data FROM queue WHERE id IN ({})"
_DELETE = "DELETE FROM queue WHERE id = ?"
_INSERT_LOG = "INSERT INTO log_queue (seq, records) VALUES (?, ?)"
_DELETE_LOG = "DELETE FROM log_queue WHERE seq = ?"


class SqliteBus:
    """`ports.Bus` over the tables `queue` and `log_queue` of `database`."""

    def __init__(self, database: Database) -> None:
        self._db = database
        sa.Table(
            "queue",
            database.metadata,
            sa.Column("seq", sa.Integer, primary_key=True),
            sa.Column("id", sa.String, nullable=False, unique=True),
            sa.Column("flow_id", sa.String, nullable=False, index=True),
            sa.Column("data", sa.LargeBinary, nullable=False),
        )
        sa.Table(
            "log_queue",
            database.metadata,
            sa.Column("seq", sa.Integer, primary_key=True),
            sa.Column("records", sa.LargeBinary, nullable=False),
        )
        database.create_all()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._ready = RoundRobin()
        self._known: set[str] = set()
        self._in_flight: set[str] = set()
        self._flow_in_flight: dict[str, int] = {}
        self._share: Callable[[str], int] | None = None
        self._depths: dict[str, int] = {}
        self._admitted_to = self._recovered_to = 0
        # flows with messages that are only on disk: those behind this seq; and which of them have few in memory
        self._spilled: dict[str, int] = {}
        self._hungry: dict[str, None] = {}
        self._others_at = 0.0
        self._next_of_long = 0.0
        self._consumer: threading.Thread | None = None
        self._stopping = False
        self._log_ready: deque[tuple[int, list[Any]]] = deque()
        self._log_held = 0
        self._log_spilled = False
        self._log_read_to = 0
        self._log_changed = threading.Condition()
        self._recover()

    def _recover(self) -> None:
        with self._db.read() as connection:
            last = connection.exec_driver_sql("SELECT max(seq) FROM queue").scalar() or 0
            last_log = connection.exec_driver_sql("SELECT max(seq) FROM log_queue").scalar() or 0
            for flow_id, n in connection.exec_driver_sql("SELECT flow_id, count(*) FROM queue GROUP BY flow_id"):
                self._depths[flow_id] = n
                self._spilled[flow_id] = 0
                self._hungry[flow_id] = None
        self._admitted_to = self._recovered_to = last
        self._seq = itertools.count(last + 1)
        self._log_seq = itertools.count(last_log + 1)
        self._log_spilled = last_log > 0

    @property
    def blocked(self) -> str | None:
        """A fault of the disk shows when something is stored."""
        return None

    # -- publishing and settling

    def publish(self, messages: Sequence[Message]) -> Future[None]:
        return self._commit(None, Settlement(publishes=list(messages)))

    def settle(self, delivery: Delivery | None, settlement: Settlement) -> Future[None]:
        if delivery is None and len(settlement.publishes) > FEW:
            self._hold_back(settlement.publishes[0].flow_id)
        return self._commit(delivery, settlement)

    def _hold_back(self, flow_id: str) -> None:
        if flow_id in self._spilled and time.monotonic() - self._others_at < LATELY:
            time.sleep(HOLD)

    def _commit(self, delivery: Delivery | None, settlement: Settlement) -> Future[None]:
        rows: list[Rows] = [_write_rows(write) for write in (*settlement.writes, *settlement.last)]
        if delivery is not None:
            rows.append((_DELETE, [(delivery.message.id,)]))
        encoded = [encode(m) for m in settlement.publishes]
        records = orjson.dumps(settlement.logs, option=orjson.OPT_NON_STR_KEYS) if settlement.logs else None
        # seq is drawn and the work handed over under one lock, so rows become durable in order of seq
        states = settlement.states
        work = partial(_change_state, states) if states else None
        with self._lock:
            numbered = [
                (next(self._seq), m.id, m.flow_id, data) for m, data in zip(settlement.publishes, encoded, strict=True)
            ]
            if numbered:
                rows.append((_INSERT, numbered))
            log_seq = next(self._log_seq) if records is not None else 0
            if records is not None:
                rows.append((_INSERT_LOG, [(log_seq, records)]))
            last = numbered[-1][0] if numbered else 0
            return self._db.submit_rows(rows, partial(self._committed, delivery, settlement, last, log_seq), work)

    def _committed(self, delivery: Delivery | None, settlement: Settlement, last_seq: int, log_seq: int) -> None:
        if settlement.publishes or delivery is not None:
            with self._lock:
                if delivery is not None:
                    self._forget(delivery.message)
                for seq, message in enumerate(settlement.publishes, last_seq - len(settlement.publishes) + 1):
                    self._admit(message, seq)
                self._admitted_to = max(self._admitted_to, last_seq)
                self._changed.notify_all()
        if settlement.logs:
            self._admit_logs(log_seq, settlement.logs)

    def _admit(self, message: Message, seq: int) -> None:
        if message.id in self._known:
            return
        flow_id = message.flow_id
        self._depths[flow_id] = self._depths.get(flow_id, 0) + 1
        if flow_id in self._spilled:
            return
        waiting = self._ready.waiting(flow_id)
        if waiting >= FLOW_WINDOW or (waiting >= FEW and len(self._known) >= WINDOW):
            self._spilled[flow_id] = seq - 1
            return
        self._known.add(message.id)
        self._ready.push(flow_id, Delivery(message, message.id))

    def _forget(self, message: Message) -> None:
        if message.id not in self._known:
            return
        self._known.discard(message.id)
        if message.id in self._in_flight:
            self._in_flight.discard(message.id)
            busy = self._flow_in_flight.pop(message.flow_id, 1) - 1
            if busy > 0:
                self._flow_in_flight[message.flow_id] = busy
        left = self._depths.get(message.flow_id, 1) - 1
        if left > 0:
            self._depths[message.flow_id] = left
        else:
            self._depths.pop(message.flow_id, None)

    # -- consuming

    def consume(
        self, handler: Callable[[Delivery], None], prefetch: int, share: Callable[[str], int] | None = None
    ) -> None:
        self._stopping = False
        self._share = share
        self._consumer = threading.Thread(
            target=self._dispatch, args=(handler, prefetch), name="bus dispatcher", daemon=True
        )
        self._consumer.start()

    def _dispatch(self, handler: Callable[[Delivery], None], prefetch: int) -> None:
        while (delivery := self._next(prefetch)) is not None:
            handler(delivery)

    def _next(self, prefetch: int) -> Delivery | None:
        with self._lock:
            while not self._stopping:
                if self._hungry and not self._read_in(next(iter(self._hungry))):
                    self._changed.wait(1)
                    continue
                if len(self._in_flight) < prefetch and (delivery := self._ready.pop(self._may_have)) is not None:
                    self._handed_out(delivery.message)
                    self._pace(delivery.message.flow_id)
                    if (flow_id := delivery.message.flow_id) in self._spilled and self._ready.waiting(flow_id) < FEW:
                        self._hungry[flow_id] = None
                    return delivery
                if not self._hungry:
                    self._wait()
        return None

    def _wait(self) -> None:
        """Until something changes, or a long queue may go on."""
        if not self._next_of_long:
            self._changed.wait()
        elif (pause := self._next_of_long - time.monotonic()) > 0:
            self._changed.wait(pause)
        else:
            self._next_of_long = 0.0

    def _handed_out(self, message: Message) -> None:
        self._in_flight.add(message.id)
        self._flow_in_flight[message.flow_id] = self._flow_in_flight.get(message.flow_id, 0) + 1

    def _pace(self, flow_id: str) -> None:
        now = time.monotonic()
        if flow_id not in self._spilled:
            self._others_at = now
        elif now - self._others_at < LATELY:
            self._next_of_long = now + PACE

    def _may_have(self, flow_id: str) -> bool:
        if flow_id in self._spilled and time.monotonic() < self._next_of_long:
            return False
        return self._share is None or self._flow_in_flight.get(flow_id, 0) < self._share(flow_id)

    def _read_in(self, flow_id: str) -> bool:
        """Read in messages of a flow from disk (the lock is held); False when the disk cannot be read now."""
        count = READ_IN if len(self._known) < WINDOW else FEW
        try:
            with self._db.read() as connection:
                rows = connection.exec_driver_sql(
                    "SELECT seq, data FROM queue WHERE flow_id = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
                    (flow_id, self._spilled[flow_id], self._admitted_to, count),
                ).all()
        except Unavailable as error:
            log.error("the queue cannot be read: %s", error, extra={"action": "queue_read_failed"})  # noqa: TRY400
            return False
        for seq, data in rows:
            self._spilled[flow_id] = seq
            message = decode(data)
            if message.id not in self._known:
                self._known.add(message.id)
                self._ready.push(flow_id, Delivery(message, message.id, redelivered=seq <= self._recovered_to))
        del self._hungry[flow_id]
        if len(rows) < count:  # all of it is in memory: new messages may join directly
            del self._spilled[flow_id]
        elif self._ready.waiting(flow_id) < FEW:  # most were known already
            self._hungry[flow_id] = None
        return True

    def stop_consuming(self) -> None:
        with self._lock:
            self._stopping = True
            self._changed.notify_all()
        if self._consumer is not None and self._consumer is not threading.current_thread():
            self._consumer.join()

    def take(self, ids: Sequence[str]) -> list[Delivery]:
        found: list[Any] = []
        with self._lock, self._db.read() as connection:
            for start in range(0, len(ids), TAKE):
                some = tuple(ids[start : start + TAKE])
                found += connection.exec_driver_sql(_TAKE.format(", ".join("?" * len(some))), some).all()
            deliveries = [Delivery(m, m.id, redelivered=True) for _, data in sorted(found) for m in (decode(data),)]
            for delivery in deliveries:
                self._known.add(delivery.message.id)
                self._handed_out(delivery.message)
        return deliveries

    def depth(self, flow_id: str | None = None) -> int:
        with self._lock:
            return sum(self._depths.values()) if flow_id is None else self._depths.get(flow_id, 0)

    def remove(
        self, flow_id: str, limit: int, keep: Callable[[Sequence[Message]], Iterable[Write]]
    ) -> tuple[list[Message], int]:
        with self._lock:
            waiting = self._ready.drop(flow_id)
            self._spilled.pop(flow_id, None)
            self._hungry.pop(flow_id, None)
            for delivery in waiting:
                self._known.discard(delivery.message.id)
            chosen = (flow_id, *self._in_flight)

        def take(connection: sa.Connection) -> tuple[list[Message], int]:
            waiting = f"FROM queue WHERE flow_id = ? AND id NOT IN ({', '.join('?' * (len(chosen) - 1))})"
            rows = connection.exec_driver_sql(f"SELECT data {waiting} ORDER BY seq LIMIT ?", (*chosen, limit))
            messages = [decode(data) for (data,) in rows]
            for statement, values in map(_write_rows, keep(messages)):
                connection.exec_driver_sql(statement, values[0])
            return messages, connection.exec_driver_sql(f"DELETE {waiting}", chosen).rowcount

        messages, count = self._db.write(take)
        with self._lock:
            left = self._depths.get(flow_id, 0) - count
            if left > 0:
                self._depths[flow_id] = left
            else:
                self._depths.pop(flow_id, None)
        return messages, count

    # -- log records

    def _admit_logs(self, seq: int, records: list[Any]) -> None:
        with self._log_changed:
            if self._log_spilled or self._log_held >= LOG_WINDOW:
                self._log_spilled = True
            else:
                self._log_ready.append((seq, records))
                self._log_held += len(records)
                self._log_read_to = seq
            self._log_changed.notify()

    def take_logs(self, limit: int, wait: float) -> LogBatch | None:
        with self._log_changed:
            if not self._log_ready and not self._log_spilled:
                self._log_changed.wait(wait)
            if not self._log_ready and self._log_spilled:
                self._read_in_logs(limit)
            records: list[Any] = []
            tags: list[int] = []
            while self._log_ready and len(records) < limit:
                seq, part = self._log_ready.popleft()
                self._log_held -= len(part)
                records.extend(part)
                tags.append(seq)
        return LogBatch(records, tags) if tags else None

    def _read_in_logs(self, limit: int) -> None:
        """Rows until they hold `limit` records: how many one holds differs widely."""
        query = "SELECT seq, records FROM log_queue WHERE seq > ? ORDER BY seq"
        with self._db.read() as connection:
            rows = connection.exec_driver_sql(query, (self._log_read_to,))
            for seq, data in rows:
                part = orjson.loads(data)
                self._log_ready.append((seq, part))
                self._log_held += len(part)
                self._log_read_to = seq
                if self._log_held >= limit:
                    return
        self._log_spilled = False

    def logs_done(self, batch: LogBatch) -> None:
        self._db.submit_rows([(_DELETE_LOG, [(seq,) for seq in batch.tag])]).result()

    def close(self) -> None:
        self.stop_consuming()


def _change_state(changes: list[StateChange], connection: sa.Connection) -> None:
    change(connection, changes)


def _write_rows(write: Write) -> Rows:
    if write.doc is None:
        return delete_sql(write.collection), [(write.id,)]
    return put_sql(write.collection), [(write.id, encode_doc(write.doc))]
