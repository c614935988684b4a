"""Users' JavaScript: what it may return, what stops it, and that nothing stays behind."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import StepError
from engine.values import javascript
from engine.values.javascript import call_helper, evaluate, run_body


def test_evaluate_gives_the_last_expression() -> None:
    assert evaluate("const n = $data.n; n * 2", {"n": 21}) == 42
    assert evaluate("var x = []; for (const i of $data) x.push(i + 1); x", [1, 2]) == [2, 3]


def test_a_body_sees_its_value_under_three_names_and_its_arguments() -> None:
    assert run_body("return [value, $value, $data, args[0]]", 1, [2]) == [1, 1, 1, 2]
    assert run_body("value.toUpperCase()", "a") == "A"


def test_a_helper_gets_value_arguments_hash_and_helpers() -> None:
    source = "function (value, times, { hash, helpers }) { return helpers.g_double(value) * times + hash.plus; };"
    assert call_helper(source, [2, 3], {"plus": 1}, {"g_double": "v => v * 2"}) == 13
    assert call_helper("(v, { hash }) => hash", ["a"], {"k": [1]}) == {"k": [1]}


@pytest.mark.parametrize(
    "code,expected",
    [
        ("return 'fixed'", "fixed"),
        (r"return 'Name,Points\nJiří,100\n'", "Name,Points\nJiří,100\n"),
        (r'return "it\'s \"so\"";', 'it\'s "so"'),
        ("return -1.5", -1.5),
        ("  return true ; ", True),
        ("return null", None),
    ],
)
def test_a_body_that_returns_a_literal_needs_no_isolate(
    code: str, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_isolate = run_body(f"/**/{code}", None)
    monkeypatch.setattr(javascript, "_pool", None)
    assert run_body(code, None) == expected == in_isolate


@pytest.mark.parametrize("code", [r"return '\u0041'", r"return '\x41'", "return `A`", "return 'A' + ''"])
def test_what_is_not_quite_a_literal_is_run(code: str) -> None:
    assert run_body(code, None) == "A"


def test_what_is_nearly_a_literal_costs_no_more_than_its_length() -> None:
    with pytest.raises(StepError, match="SyntaxError"):
        run_body("return 1" + " " * 100_000 + "x x", None)
    assert run_body("  return 1" + " " * 1000 + "; \n", None) == 1


@pytest.mark.parametrize(
    "code,reason",
    [
        ("return undefined", 'The function returned "undefined"'),
        ("return () => 1", 'The function returned "function"'),
        ("return Symbol()", 'The function returned "symbol"'),
        ("return Promise.resolve(1)", 'The function returned "promise"'),
        ("return 10n", "BigInt"),
        ("const a = {}; a.a = a; return a", "circular"),
        ("return (", "SyntaxError"),
        ("return 1 })(); (function () {", "SyntaxError"),
        ("throw new TypeError('boom')", "TypeError: boom"),
        ("throw { code: 7 }; return 1", 'threw {"code":7}'),
        ("throw { get message() { throw 1 }, toJSON() { throw 2 } }; return 1", "cannot be shown"),
        ("return missing", "missing is not defined"),
        ("return '\\ud800'", "not JSON text"),
        ("(function f() { f() })(); return 1", "Maximum call stack"),
        ("return new Uint8Array(10)", "Uint8Array is not defined"),
        ("setTimeout(() => 1, 1); return 1", "setTimeout"),
    ],
)
def test_what_cannot_be_a_result_is_a_step_error_with_the_reason(code: str, reason: str) -> None:
    with pytest.raises(StepError) as caught:
        run_body(code, None)
    assert reason in caught.value.message
    assert caught.value.message.startswith(("JavaScript: ", 'The function returned "'))
    assert caught.value.retry_hint is False


def test_a_result_has_a_greatest_length() -> None:
    with pytest.raises(StepError, match="longer than"):
        run_body("return 'x'.repeat(2 ** 24)", None)


def test_not_a_number_is_null_as_in_json() -> None:
    assert run_body("return [NaN, 1/0]", None) == [None, None]


@pytest.mark.parametrize(
    "code,reason",
    [
        ("while (true) {} return 1", "stopped after 0.2 seconds"),
        ("(async () => { while (true) await 0 })(); return 1", "stopped after 0.2 seconds"),
        ("return /^(a+)+$/.test('a'.repeat(50) + 'b')", "stopped after 0.2 seconds"),
    ],
)
def test_code_that_does_not_end_is_stopped_and_the_next_call_works(code: str, reason: str) -> None:
    with pytest.raises(StepError, match=reason):
        run_body(code, None, time_limit=0.2)
    assert run_body("return value + 1", 1) == 2


def test_code_that_takes_too_much_memory_is_stopped_and_the_next_call_works() -> None:
    with pytest.raises(StepError, match="more than 64 MiB"):
        run_body("const a = []; while (true) a.push({}); return 1", None, time_limit=30)
    assert run_body("return value + 1", 1) == 2


LEAKS = {
    "a global without declaration": "leak = 1",
    "a global in sloppy code": "new Function('leak = 1')(); 0",
    "a property of the global object": "globalThis.leak = 1",
    "a var by indirect eval": "(0, eval)('var leak = 1')",
    "a let by indirect eval": "(0, eval)('let leak = 1'); 0",
    "a prototype": "Object.prototype.leak = 1",
    "a built-in method": "Array.prototype.map = () => 'leak'",
    "an overridable method": "Object.prototype.toString = () => 'leak'",
    "a descriptor": "Object.defineProperty(Error.prototype, 'message', { value: 'leak' })",
    "an iterator's prototype": "Object.getPrototypeOf([].values()).leak = 1",
    "a generator's prototype": "Object.getPrototypeOf(function* () {}).prototype.leak = 1",
    "an async generator's prototype": "Object.getPrototypeOf(async function* () {}).prototype.leak = 1",
    "a wrapped iterator": "Object.getPrototypeOf(Iterator.from({ next() {} })).leak = 1",
    "a match iterator": "Object.getPrototypeOf('a'.matchAll(/a/g)).leak = 1",
    "an international class": "Intl.NumberFormat.prototype.leak = 1",
    "stack traces": "Error.prepareStackTrace = () => 'leak'",
    "the global's prototype": "Object.setPrototypeOf(globalThis, { leak: 1 })",
    "the runner": "__run.leak = 1",
    "a left-over class": "__TimerManager.prototype.leak = 1",
}
PROBE = """
return [typeof leak, ({}).leak === undefined, String({}), [1].map(x => x)[0], new Error('a').message,
  [].values().leak === undefined, (function* () {})().leak === undefined, (async function* () {})().leak === undefined,
  Iterator.from({ next() {} }).leak === undefined, 'a'.matchAll(/a/g).leak === undefined,
  new Intl.NumberFormat().leak === undefined, new Error('a').stack.includes('leak'), __run.leak === undefined,
  __TimerManager.prototype.leak === undefined]
"""
CLEAN = ["undefined", True, "[object Object]", 1, "a", *[True] * 6, False, True, True]


@pytest.mark.parametrize("code", LEAKS.values(), ids=LEAKS.keys())
def test_nothing_stays_behind_for_the_next_call(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(javascript, "ISOLATES", 1)
    monkeypatch.setattr(javascript, "_pool", one := _SharedPool())
    try:
        evaluate(code)
    except StepError:
        pass
    assert run_body(PROBE, None) == CLEAN
    assert one.made() == 1, "both calls must have used the same isolate"


class _SharedPool:
    """One isolate in place of the process's own pool."""

    def __init__(self) -> None:
        self._pool = javascript._Pool()

    def __call__(self) -> Any:
        return self._pool

    def made(self) -> int:
        return sum(place is not None for place in self._pool._places.queue)


def test_the_last_match_of_a_regular_expression_cannot_be_read() -> None:
    evaluate("/s(ecret)/.test('secret')")
    assert (
        run_body("return [typeof RegExp.$1, typeof RegExp.lastMatch, typeof RegExp.input]", None) == ["undefined"] * 3
    )


def test_frozen_built_ins_do_not_get_in_the_way_of_ordinary_code() -> None:
    code = """
    const count = {};
    for (const word of ['constructor', 'toString', 'a', 'a']) {
      count[word] = (Object.hasOwn(count, word) ? count[word] : 0) + 1;
    }
    class Wrong extends Error { constructor(m) { super(m); this.name = 'Wrong'; } }
    try { throw new Wrong('x') } catch (e) { count.error = `${e}` }
    return count
    """
    assert run_body(code, None) == {"constructor": 1, "toString": 1, "a": 2, "error": "Wrong: x"}


def test_many_threads_share_the_isolates() -> None:
    with ThreadPoolExecutor(12) as threads:
        results = list(threads.map(lambda n: run_body("return value * 2", n), range(60)))
    assert results == [n * 2 for n in range(60)]


def test_when_all_isolates_are_busy_the_error_can_be_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(javascript, "ISOLATES", 0)
    monkeypatch.setattr(javascript, "MAX_WAIT", 0.01)
    monkeypatch.setattr(javascript, "_pool", _SharedPool())
    with pytest.raises(StepError, match="no isolate was free") as caught:
        evaluate("1")
    assert caught.value.retry_hint is True


def test_importing_the_modifiers_does_not_load_the_engine() -> None:
    code = """
import sys
import engine.values.template
from engine.values.registry import builtin_registry
builtin_registry()
print('py_mini_racer' in sys.modules or 'jsonpath' in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=30) | st.text("return value(){}[]=>;'\"`\\/*$1+", max_size=25))
def test_no_code_gets_out_of_its_wrapper(code: str) -> None:
    with suppress(StepError):
        orjson.dumps(run_body(code, {"a": 1}))
    with suppress(StepError):
        orjson.dumps(evaluate(code))
    with suppress(StepError):
        orjson.dumps(call_helper(code, [1], {}))
