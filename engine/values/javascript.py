"""Users' JavaScript, in V8 isolates with a time and a memory limit.

Measured on this design: an isolate takes 3 ms and 1 MB to make (the first one 45 MB, V8 itself),
a call in a ready one 0.5 ms. So isolates are kept and what they share is frozen (`realm.py`).
A call ends only when the isolate has come to rest: promises it left behind count as its own time.
An isolate that had to be stopped is thrown away.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from queue import Empty, LifoQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

import orjson

from engine.errors import StepError
from engine.values.convert import MAX_TEXT
from engine.values.realm import REALM

if TYPE_CHECKING:
    from py_mini_racer import MiniRacer

TIME_LIMIT = 1.0
"""Seconds one call may run."""
MEMORY_LIMIT = 64 * 1024 * 1024
"""Bytes of an isolate's heap, looked at whenever V8 collects garbage."""
ISOLATES = 4
MAX_WAIT = 30.0
"""Seconds a call waits for a free isolate."""

_LITERAL = re.compile(
    r"""return\s+( '(?:[^'\\\r\n]|\\[^\r\nux0-9])*' | "(?:[^"\\\r\n]|\\[^\r\nux0-9])*"
                    | -?(?:0|[1-9]\d{0,14})(?:\.\d{1,10})? | true | false | null )(?:\s*;)?""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v"}


def run_body(code: str, value: Any, args: Sequence[Any] = (), *, time_limit: float = TIME_LIMIT) -> Any:
    """`g_javascript`: the body of a function of `value` (also `$value`, `$data`) and `args`.

    Code without `return` gives the value of its last expression. Raises StepError.
    """
    if (literal := _LITERAL.fullmatch(code.strip())) is not None:
        return _literal(literal[1])
    kind = "body" if re.search(r"\breturn\b", code) else "script"
    return _run(kind, code, {"value": value, "args": list(args)}, time_limit)


def evaluate(code: str, data: Any = None, *, time_limit: float = TIME_LIMIT) -> Any:
    """The value of the last expression of `code`; `data` is `$data`. Raises StepError (engine.md §3)."""
    return _run("script", code, {"value": data, "args": []}, time_limit)


def call_helper(
    source: str, args: Sequence[Any], hash: Mapping[str, Any], helpers: Mapping[str, str] | None = None,
    *, time_limit: float = TIME_LIMIT,
) -> Any:  # fmt: skip
    """Call a function given as source with `(…args, {hash, helpers})`, `helpers` being sources by name.

    Raises StepError; `The function returned "undefined"` is one of its texts (rest-api.md §8).
    """
    return _run("helper", source, {"args": list(args), "hash": hash, "sources": helpers or {}}, time_limit)


def _literal(text: str) -> Any:
    if text[0] in "'\"":
        return _ESCAPE.sub(lambda match: _ESCAPES.get(match[1], match[1]), text[1:-1])
    return orjson.loads(text)


def _run(kind: str, code: str, data: dict[str, Any], time_limit: float) -> Any:
    try:
        arguments = (_quoted(code), _quoted(orjson.dumps(data, option=orjson.OPT_NON_STR_KEYS).decode()))
    except TypeError as error:
        raise _error(f"its input is not JSON: {error}") from error
    with _pool().isolate() as isolate:
        answer = isolate.eval(f'__run("{kind}",{",".join(arguments)})', time_limit)
    if len(answer) > MAX_TEXT:
        raise _error(f"the result is longer than {MAX_TEXT} characters of JSON; return less")
    if answer[:1] == "v":
        try:
            return orjson.loads(answer[1:])
        except orjson.JSONDecodeError as error:
            raise _error(f"the result is not JSON text: {error}") from error
    if answer[:1] == "u":
        # The wording of rest-api.md §8, which clients know.
        raise StepError(f'The function returned "{answer[1:]}"', code="JAVASCRIPT_FAILED", retryable=False)
    raise _error(answer[1:501])


def _quoted(text: str) -> str:
    # U+2028 and U+2029 are fine in JavaScript strings since 2019, so JSON text is a literal.
    return orjson.dumps(text).decode()


def _error(text: str, code: str = "JAVASCRIPT_FAILED") -> StepError:
    return StepError(f"JavaScript: {text}", code=code, retryable=False)


class _Isolate:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        from py_mini_racer import mini_racer

        self._loop = loop
        self._owner: AbstractContextManager[MiniRacer] = mini_racer(loop)
        self._racer = self._owner.__enter__()
        self._racer.eval(REALM)
        self._racer.set_hard_memory_limit(MEMORY_LIMIT)
        self.broken = False

    def eval(self, code: str, time_limit: float) -> str:
        """Text the code gives. Raises StepError, after which the isolate is `broken`."""
        from py_mini_racer import JSEvalException, JSOOMException

        async def run() -> Any:
            async with asyncio.timeout(time_limit):
                result = await self._racer.eval_cancelable(code)
                await self._racer.eval_cancelable("0")  # runs once pending promises have
                return result

        try:
            return str(asyncio.run_coroutine_threadsafe(run(), self._loop).result())
        except TimeoutError as error:
            self.broken = True
            raise _error(f"stopped after {time_limit:g} seconds; make it do less", "JAVASCRIPT_TIMEOUT") from error
        except JSOOMException as error:
            self.broken = True
            limit = MEMORY_LIMIT // 1024 // 1024
            raise _error(f"used more than {limit} MiB of memory; make it hold less", "JAVASCRIPT_MEMORY") from error
        except JSEvalException as error:
            self.broken = True
            raise _error(f"could not be run: {str(error)[:300]}") from error

    def close(self) -> None:
        """Waits until V8 has really stopped, which a call inside V8's own code can put off for seconds."""
        self._owner.__exit__(None, None, None)


class _Pool:
    """At most ISOLATES of them, made when needed. One being thrown away keeps its place until it has stopped."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        Thread(target=self._loop.run_forever, name="javascript", daemon=True).start()
        self._places: LifoQueue[_Isolate | None] = LifoQueue()
        for _ in range(ISOLATES):
            self._places.put(None)

    @contextmanager
    def isolate(self) -> Iterator[_Isolate]:
        try:
            isolate = self._places.get(timeout=MAX_WAIT)
        except Empty as error:
            text = f"JavaScript: no isolate was free for {MAX_WAIT:g} seconds"
            raise StepError(text, code="JAVASCRIPT_BUSY", retryable=True) from error
        try:
            if isolate is None:
                isolate = _Isolate(self._loop)
            yield isolate
        finally:
            if isolate is not None and isolate.broken:
                Thread(target=self._discard, args=(isolate,), name="javascript-stop", daemon=True).start()
            else:
                self._places.put(isolate)

    def _discard(self, isolate: _Isolate) -> None:
        try:
            isolate.close()
        finally:
            self._places.put(None)


@cache
def _pool() -> _Pool:
    return _Pool()
