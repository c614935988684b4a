"""Arithmetic. Text holding a number counts as that number; a result is always a finite number."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from engine.values.convert import Unfit, checked_number, fits, to_number
from engine.values.frame import Call
from engine.values.registry import Argument, Example, modifier

_NUMBER = Argument("number", "number", "the second number")
_WIDE = Context(prec=700)


def _tidy(value: float) -> float:
    """A result as an integer where it is one, so that 4 / 2 is 2 in text and JSON."""
    value = checked_number(value)
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


@modifier(
    "g_pi", "Pi", "math", "The number π.", returns="number", input=None,
    examples=[Example(None, [], math.pi), Example("ignored", [], math.pi)],
)  # fmt: skip
def pi() -> float:
    return math.pi


@modifier(
    "g_random", "Random number", "math",
    "A random number from 0 to 1, or a whole one between two limits; the same when a message is delivered again.",
    Argument("min", "integer", "the lowest whole number", default=None),
    Argument("max", "integer", "the highest whole number", default=None),
    returns="number", input=None, contextual=True,
    examples=[Example(None, [3, 3], 3), Example(None, [0, 0], 0)],
)  # fmt: skip
def random(call: Call, lowest: int | None, highest: int | None) -> float:
    bits = int.from_bytes(call.random_bytes(16), "big")
    if lowest is None and highest is None:
        return (bits >> 75) / (1 << 53)
    low, high = lowest or 0, 2**53 if highest is None else highest
    if low > high:
        raise Unfit(f"min {low} is above max {high}")
    return low + bits % (high - low + 1)


@modifier(
    "g_add", "Add", "math", "The sum of two numbers.", _NUMBER, returns="number", input="number",
    examples=[Example(2, ["3"], 5), Example("1.5", [1], 2.5)],
)  # fmt: skip
def add(value: float, number: float) -> float:
    return _tidy(value + number)


@modifier(
    "g_sub", "Subtract", "math", "The first number less the second.", _NUMBER, returns="number", input="number",
    examples=[Example(5, [3], 2), Example("1", [2], -1)],
)  # fmt: skip
def sub(value: float, number: float) -> float:
    return _tidy(value - number)


@modifier(
    "g_mul", "Multiply", "math", "The product of two numbers.", _NUMBER, returns="number", input="number",
    examples=[Example(5, [3], 15), Example("0.5", [4], 2)],
)  # fmt: skip
def mul(value: float, number: float) -> float:
    return _tidy(value * number)


@modifier(
    "g_div", "Divide", "math", "The first number divided by the second.", _NUMBER, returns="number", input="number",
    examples=[Example(6, [3], 2), Example(1, ["4"], 0.25)],
)  # fmt: skip
def div(value: float, number: float) -> float:
    return _tidy(value / _not_zero(number))


@modifier(
    "g_mod", "Remainder", "math", "What is left after a division; it has the sign of the first number.", _NUMBER,
    returns="number", input="number", examples=[Example(7, [3], 1), Example(-7, [3], -1)],
)  # fmt: skip
def mod(value: float, number: float) -> float:
    return _tidy(math.fmod(value, _not_zero(number)))


def _not_zero(number: float) -> float:
    if number == 0:
        raise Unfit('cannot divide by 0; give another "number"')
    return number


@modifier(
    "g_pow", "Power", "math", "The first number to the power of the second.", _NUMBER, returns="number", input="number",
    examples=[Example(2, [10], 1024), Example(9, [0.5], 3)],
)  # fmt: skip
def power(value: float, number: float) -> float:
    return _tidy(math.pow(value, number))


@modifier(
    "g_sqrt", "Square root", "math", "The square root.", returns="number", input="number",
    examples=[Example(9, [], 3), Example("2.25", [], 1.5)],
)  # fmt: skip
def sqrt(value: float) -> float:
    return _tidy(math.sqrt(value))


@modifier(
    "g_abs", "Absolute value", "math", "The number without its sign.", returns="number", input="number",
    examples=[Example(-3, [], 3), Example("2.5", [], 2.5)],
)  # fmt: skip
def absolute(value: float) -> float:
    return _tidy(abs(value))


@modifier(
    "g_round", "Round", "math", "The number rounded; a half goes away from zero.",
    Argument("decimals", "integer", "how many decimal places to keep", default=0),
    returns="number", input="number", examples=[Example(2.5, [], 3), Example(1.005, [2], 1.01)],
)  # fmt: skip
def round_(value: float, decimals: int) -> float:
    if not -300 <= decimals <= 300 or not math.isfinite(value):
        raise Unfit('argument "decimals" must be between -300 and 300')
    # The shortest text of a float is what people see and mean: 1.005, not 1.00499999999999989.
    exact = Decimal(repr(value))
    return _tidy(float(exact.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP, _WIDE)))


@modifier(
    "g_floor", "Round down", "math", "The next whole number below.", returns="number", input="number",
    examples=[Example(2.9, [], 2), Example("-2.1", [], -3)],
)  # fmt: skip
def floor(value: float) -> float:
    return checked_number(math.floor(value))


@modifier(
    "g_ceil", "Round up", "math", "The next whole number above.", returns="number", input="number",
    examples=[Example(2.1, [], 3), Example("-2.9", [], -2)],
)  # fmt: skip
def ceil(value: float) -> float:
    return checked_number(math.ceil(value))


@modifier(
    "g_toNumber", "To number", "math", "Text as a number.", returns="number", input="number",
    examples=[Example("12.50", [], 12.5), Example(True, [], 1)],
)  # fmt: skip
def to_number_(value: float) -> float:
    return _tidy(value)


@modifier(
    "g_formatNumber", "Format number", "math", "A number as text with grouped thousands.",
    Argument("decimals", "integer", "how many decimal places to show", default=2),
    Argument("point", "string", "the decimal sign", default="."),
    Argument("group", "string", "the sign between thousands", default=","),
    returns="string", input="number",
    examples=[Example(1234567.891, [], "1,234,567.89"), Example(1234.5, [1, ",", " "], "1 234,5")],
)  # fmt: skip
def format_number(value: float, decimals: int, point: str, group: str) -> str:
    if not 0 <= decimals <= 30:
        raise Unfit('argument "decimals" must be between 0 and 30')
    rounded = round_(value, decimals)
    text = f"{Decimal(repr(rounded)):,.{decimals}f}"
    fits(len(text) * max(len(point), len(group), 1))
    return "".join(group if c == "," else point if c == "." else c for c in text)


def _numbers(values: list[Any]) -> list[float]:
    """The numbers of a list; nothing counts for nothing. Raises Unfit naming what is no number."""
    result = []
    for index, item in enumerate(values):
        if item is None:
            continue
        try:
            result.append(to_number(item))
        except Unfit as wrong:
            raise Unfit(f"item {index} of the list must be a number, not {type(item).__name__}") from wrong
    return result


@modifier(
    "g_sum", "Sum", "math", "The sum of the numbers in a list.", returns="number", input="array",
    examples=[Example([1, "2", 3], [], 6), Example([], [], 0)],
)  # fmt: skip
def sum_(value: list[Any]) -> float:
    numbers = _numbers(value)
    whole = all(isinstance(n, int) for n in numbers)
    return _tidy(sum(numbers) if whole else math.fsum(numbers))


@modifier(
    "g_average", "Average", "math", "The mean of the numbers in a list; nothing for an empty list.", returns="number",
    input="array", examples=[Example([1, 2, 6], [], 3), Example([], [], None)],
)  # fmt: skip
def average(value: list[Any]) -> float | None:
    numbers = _numbers(value)
    return _tidy(math.fsum(numbers) / len(numbers)) if numbers else None


@modifier(
    "g_min", "Smallest", "math", "The smallest number of a list; nothing for an empty list.", returns="number",
    input="array", examples=[Example([3, "1", 2], [], 1), Example([], [], None)],
)  # fmt: skip
def smallest(value: list[Any]) -> float | None:
    numbers = _numbers(value)
    return _tidy(min(numbers)) if numbers else None


@modifier(
    "g_max", "Largest", "math", "The largest number of a list; nothing for an empty list.", returns="number",
    input="array", examples=[Example([3, "10", 2], [], 10), Example([], [], None)],
)  # fmt: skip
def largest(value: list[Any]) -> float | None:
    numbers = _numbers(value)
    return _tidy(max(numbers)) if numbers else None
