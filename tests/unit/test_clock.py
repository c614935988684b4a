"""The clock of the machine may be set back; ours goes on."""

from __future__ import annotations

from engine.adapters.clock import SystemClock

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
START = 1_790_000_000 * SECOND


class Machine:
    """A wall clock that can be set, and a steady one; both move on together."""

    def __init__(self) -> None:
        self.wall = START
        self.steady = 0

    def passes(self, seconds: float) -> None:
        self.wall += round(seconds * SECOND)
        self.steady += round(seconds * SECOND)


def made() -> tuple[Machine, SystemClock]:
    machine = Machine()
    return machine, SystemClock(lambda: machine.wall, lambda: machine.steady)


def test_it_shows_the_machines_time() -> None:
    machine, clock = made()
    assert clock.now() == START // 1_000_000
    machine.passes(1.5)
    assert clock.now() == START // 1_000_000 + 1500
    machine.wall += HOUR  # set forward: so it is
    assert clock.now() == machine.wall // 1_000_000


def test_small_steps_back_are_waited_out() -> None:
    machine, clock = made()
    before = clock.now()
    machine.wall -= SECOND // 2
    assert clock.now() == before
    machine.passes(0.4)
    assert clock.now() == before
    machine.passes(0.2)
    assert clock.now() == before + 100


def test_an_hour_back_neither_stops_nor_repeats_time() -> None:
    machine, clock = made()
    before = clock.now()
    machine.wall -= HOUR
    shown = [clock.now()]
    for _ in range(100):
        machine.passes(1)
        shown.append(clock.now())
    assert shown == sorted(shown)
    assert 85_000 <= shown[-1] - before <= 100_000, "time passes, hardly slower"


def test_the_machines_clock_catches_up() -> None:
    machine, clock = made()
    clock.now()
    machine.wall -= HOUR
    seen = clock.now()
    for _ in range(11 * 60):
        machine.passes(60)
        assert clock.now() >= seen
        seen = clock.now()
    assert seen == machine.wall // 1_000_000
    machine.passes(1)
    assert clock.now() == seen + 1000


def test_a_second_step_back_while_behind_is_the_same() -> None:
    machine, clock = made()
    clock.now()
    machine.wall -= HOUR
    before = clock.now()
    machine.wall -= HOUR
    machine.passes(10)
    assert clock.now() == before + 9_000
