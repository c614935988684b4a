"""Several processes on one database: here, adapters that know nothing of each other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from engine.adapters.mongo.connection import Mongo
from engine.adapters.mongo.files import MongoFiles
from engine.adapters.mongo.state import MongoState
from engine.model.file import FileRecord
from tests.integration.mongo.conftest import StandingClock


def test_counting_together_loses_nothing(mongo: Mongo, clock: StandingClock) -> None:
    states = [MongoState(mongo, clock) for _ in range(4)]

    def count(who: int) -> list[int]:
        return [states[who % 4].apply("flow:f", f"{who}:{n}", "inc", f"n{n % 5}") for n in range(20)]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(count, range(8)))
    assert states[0].load("flow:f") == {f"n{key}": 32 for key in range(5)}
    for key in range(5):
        assert sorted(some[n] for some in results for n in range(key, 20, 5)) == list(range(1, 33))


def test_one_operation_offered_to_several_counts_once(mongo: Mongo, clock: StandingClock) -> None:
    states = [MongoState(mongo, clock) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        for number in range(10):

            def apply(state: MongoState, op: str = f"op{number}") -> int:
                return int(state.apply("flow:f", op, "inc", "n", 3))

            assert set(pool.map(apply, states)) == {3 * (number + 1)}


def test_saving_and_clearing_together_leave_one_whole_state(mongo: Mongo, clock: StandingClock) -> None:
    states = [MongoState(mongo, clock) for _ in range(4)]

    def save(who: int) -> None:
        for number in range(5):
            states[who].apply("flow:f", f"{who}:{number}", "save", "", {f"k{key}": who for key in range(who, who + 10)})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(save, range(4)))
    left = states[0].load("flow:f")
    (who,) = set(left.values())
    assert left == {f"k{key}": who for key in range(who, who + 10)}


def test_appends_of_several_are_all_there(mongo: Mongo, clock: StandingClock) -> None:
    several = [MongoFiles(mongo, clock, 1_000_000) for _ in range(4)]
    several[0].save("log", b"", content_type="text/plain", metadata={}, file_id="log")

    def append(who: int) -> list[FileRecord]:
        return [several[who].append("log", b"%d;" % who) for _ in range(8)]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(append, range(4)))
    with several[0].open("log") as file:
        assert sorted(file.read().split(b";")) == sorted([b"", *(b"%d" % who for who in range(4) for _ in range(8))])
