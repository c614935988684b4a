from __future__ import annotations

from typing import Any

import pytest

from engine.sdk import StepError
from tests.connectors.utils.csv.conftest import Csv

BARE = {"withHeaders": False}


def where(*rows: tuple[str, str, Any]) -> dict[str, Any]:
    """An OR of single conditions."""
    return {"OR": [{"AND": [{"column": c, "operator": o, "value": v}]} for c, o, v in rows]}


def names(csv: Csv, filters: Any, **fields: Any) -> list[Any]:
    [(port, content)] = csv.run(
        "GetRows", {"withHeaders": True, "filterRows": True}, filters=filters, allAtOnce=True, **fields
    ).sent
    assert port == "out"
    return [row["Name"] for row in content["rows"]]


# -- filters


@pytest.mark.parametrize(
    "operator, value, found",
    [
        ("=", "20", ["Ben"]),
        ("=", 20, ["Ben"]),
        ("=", "20.0", ["Ben"]),
        ("!=", "20", ["Jiří", "Abby"]),
        (">", "10", ["Jiří", "Ben"]),
        (">=", 10, ["Jiří", "Abby", "Ben"]),
        ("<", "9", []),
        ("<", "100", ["Jiří", "Abby", "Ben"]),
        ("<=", "20", ["Abby", "Ben"]),
        (">", "text", []),
        ("regex", "^[12]", ["Abby", "Ben"]),
        ("regex", "3", ["Jiří"]),
    ],
)
def test_operators_on_numbers(csv: Csv, operator: str, value: Any, found: list[str]) -> None:
    assert names(csv, where(("Points", operator, value))) == found


def test_texts_are_compared_alphabetically(csv: Csv) -> None:
    assert names(csv, where(("Name", "<", "B"))) == ["Abby"]
    # without conversion numbers are texts as well
    assert names(csv, where(("Points", "<", "5")), parseNumbers=False) == ["Jiří", "Abby", "Ben"]
    assert names(csv, where(("Points", "<", "5")), parseNumbers=True) == []


def test_booleans(csv: Csv) -> None:
    csv.write("Name,Done\na,true\nb,false\nc,True\n")
    for value in ("true", True):
        assert names(csv, where(("Done", "=", value))) == ["a"]
    assert names(csv, where(("Done", "!=", "true"))) == ["b", "c"]
    [(_, content)] = csv.run("GetRows", filters={}).sent
    assert [row["Done"] for row in content["rows"]] == [True, False, "True"]
    [(_, content)] = csv.run("GetRows", filters={}, parseBooleans="false").sent
    assert [row["Done"] for row in content["rows"]] == ["true", "false", "True"]


def test_filters_are_an_or_of_ands(csv: Csv) -> None:
    both = [
        {"column": "Points", "operator": ">", "value": "5"},
        {"column": "Name", "operator": "regex", "value": "^[AB]"},
    ]
    filters = {"OR": [{"AND": both}, {"AND": [{"column": "Name", "operator": "=", "value": "Jiří"}]}]}
    assert names(csv, filters) == ["Jiří", "Abby", "Ben"]
    assert names(csv, {"OR": [{"AND": [*both, {"column": "Points", "operator": "=", "value": 10}]}]}) == ["Abby"]


@pytest.mark.parametrize("empty", [None, {}, {"OR": []}, {"OR": [{"AND": []}]}, {"OR": [{"AND": [{}]}]}])
def test_an_empty_filter_takes_all_rows(csv: Csv, empty: Any) -> None:
    assert names(csv, empty) == ["Jiří", "Abby", "Ben"]


def test_more_rows_than_are_tested_at_a_time(csv: Csv) -> None:
    csv.write("Name,n\n" + "".join(f"r{n},{n}\n" for n in range(2_345)))
    assert names(csv, where(("n", "regex", "^(1|234)4$"))) == ["r14", "r2344"]


@pytest.mark.parametrize(
    "filters, message",
    [
        (where(("Nam", "=", "x")), "there is no column 'Nam'; the columns are Name, Points"),
        (where(("Name", "~", "x")), "there is no operator '~'"),
        (where(("Name", "regex", "(")), "egular expression"),
        ("text", "filters: must be an object"),
    ],
)
def test_wrong_filters(csv: Csv, filters: Any, message: str) -> None:
    with pytest.raises(StepError, match=message) as caught:
        csv.run("GetRow", filters=filters)
    assert caught.value.retry_hint is False
    assert csv.world.locks == set()


# -- GetRow, GetRows, GetCell


def test_get_row(csv: Csv) -> None:
    assert csv.run("GetRow", filters=where(("Points", "<", "30"))).sent == [
        ("out", {"fileId": "f1", "row": {"Name": "Abby", "Points": 10}})
    ]
    assert csv.run("GetRow", filters=where(("Points", "<", "30")), rowFormat="array").sent == [
        ("out", {"fileId": "f1", "row": ["Abby", 10]})
    ]
    assert csv.run("GetRow", filters=where(("Points", "<", "0"))).sent == [("out", {"fileId": "f1", "row": None})]


@pytest.mark.parametrize("index", [2, "2"])
def test_get_row_by_index_counts_the_first_line(csv: Csv, index: Any) -> None:
    assert csv.run("GetRow", BARE, index=index).sent == [("out", {"fileId": "f1", "row": ["Abby", 10]})]
    assert csv.run("GetRow", BARE, index=0).sent[0][1]["row"] == ["Name", "Points"]
    assert csv.run("GetRow", BARE, index=99).sent[0][1]["row"] is None


@pytest.mark.parametrize("index", [-1, "x", True, None, ""])
def test_wrong_indexes(csv: Csv, index: Any) -> None:
    with pytest.raises(StepError, match="index"):
        csv.run("GetRow", BARE, index=index)


@pytest.mark.parametrize("at_once", [True, "true", None])
def test_get_rows_all_at_once(csv: Csv, at_once: Any) -> None:
    recorder = csv.run("GetRows", {"withHeaders": True, "filterRows": False}, allAtOnce=at_once)
    rows = [{"Name": "Jiří", "Points": 43}, {"Name": "Abby", "Points": 10}, {"Name": "Ben", "Points": 20}]
    assert recorder.sent == [("out", {"fileId": "f1", "rows": rows})]


@pytest.mark.parametrize("at_once", [False, "false"])
def test_get_rows_one_by_one(csv: Csv, at_once: Any) -> None:
    recorder = csv.run("GetRows", filters=where(("Points", ">", 10)), allAtOnce=at_once, rowFormat="array")
    assert recorder.sent == [("out", {"fileId": "f1", "rows": row}) for row in (["Jiří", 43], ["Ben", 20])]
    assert csv.world.locks == set()


def test_get_rows_without_a_match(csv: Csv) -> None:
    none = where(("Points", ">", 100))
    assert csv.run("GetRows", filters=none).sent == [("out", {"fileId": "f1", "rows": []})]
    assert csv.run("GetRows", filters=none, allAtOnce=False).sent == []


def test_get_rows_by_indexes(csv: Csv) -> None:
    [(_, content)] = csv.run("GetRows", {"withHeaders": False, "filterRows": True}, indexes="0, 2-3").sent
    assert content["rows"] == [["Name", "Points"], ["Abby", 10], ["Ben", 20]]
    [(_, content)] = csv.run("GetRows", {"withHeaders": False, "filterRows": False}).sent
    assert len(content["rows"]) == 4


@pytest.mark.parametrize("indexes", ["", None, "a", "1-", "-2", "1;2"])
def test_wrong_index_lists(csv: Csv, indexes: Any) -> None:
    with pytest.raises(StepError, match="indexes: must be"):
        csv.run("GetRows", {"withHeaders": False, "filterRows": True}, indexes=indexes)


def test_get_cell(csv: Csv) -> None:
    ben = where(("Name", "=", "Ben"))
    assert csv.run("GetCell", filters=ben, column="Points").sent == [("out", {"fileId": "f1", "cell": 20})]
    assert csv.run("GetCell", filters=ben, column="Points", parseNumbers=False).sent[0][1]["cell"] == "20"
    assert csv.run("GetCell", filters=where(("Name", "=", "No")), column="Points").sent[0][1]["cell"] is None
    with pytest.raises(StepError, match="there is no column 'No'"):
        csv.run("GetCell", filters=where(("Name", "=", "No")), column="No")


def test_get_cell_by_index(csv: Csv) -> None:
    assert csv.run("GetCell", BARE, index=1, columnIndex="0").sent[0][1]["cell"] == "Jiří"
    assert csv.run("GetCell", BARE, index=1, columnIndex=7).sent[0][1]["cell"] is None
    assert csv.run("GetCell", BARE, index=9, columnIndex=0).sent[0][1]["cell"] is None
    with pytest.raises(StepError, match="columnIndex"):
        csv.run("GetCell", BARE, index=1)


def test_get_cell_needs_no_delimiter(csv: Csv) -> None:
    assert csv.run("GetCell", filters={}, column="Name", delimiter=None).sent[0][1]["cell"] == "Jiří"


# -- cells


@pytest.mark.parametrize(
    "cell, value",
    [
        ("42", 42), ("-1.50", -1.5), ("1e3", 1000), (".5", 0.5), ("007", 7), ("+441234567890", 441234567890),
        ("5.0", 5), ("12345678901234567890123", "12345678901234567890123"), ("1e999", "1e999"), ("", ""),
        ("1,5", 1), ("0x10", "0x10"), ("NaN", "NaN"), ("Infinity", "Infinity"), ("1 000", "1 000"), ("  7 ", 7),
        ('"quoted, cell"', "quoted, cell"), ('"two\nlines ""q"""', 'two\nlines "q"'), ('  "a"', "a"),
    ],
)  # fmt: skip
def test_cells(csv: Csv, cell: str, value: Any) -> None:
    csv.write(f"Name,Points\n{cell},x\n")
    [(_, content)] = csv.run("GetRow", filters={}).sent
    assert content["row"]["Name"] == value


def test_ragged_rows_and_blank_lines(csv: Csv) -> None:
    csv.write("a,b\n\n1\n1,2,3\n\n")
    [(_, content)] = csv.run("GetRows", filters={}).sent
    assert content["rows"] == [{"a": 1, "b": ""}, {"a": 1, "b": 2}]


@pytest.mark.parametrize("delimiter, line", [(";", "a;b"), ("\t", "a\tb"), ("\\t", "a\tb"), (" ", "a b"), ("|", "a|b")])
def test_delimiters(csv: Csv, delimiter: str, line: str) -> None:
    csv.write(line)
    assert csv.run("GetRow", BARE, index=0, delimiter=delimiter).sent[0][1]["row"] == ["a", "b"]


@pytest.mark.parametrize("delimiter", ["::", '"', "\n", 5])
def test_wrong_delimiters(csv: Csv, delimiter: Any) -> None:
    with pytest.raises(StepError, match="delimiter: must be one character"):
        csv.run("GetRow", filters={}, delimiter=delimiter)


@pytest.mark.parametrize("file_id", [None, "", 5, {}])
def test_a_file_must_be_chosen(csv: Csv, file_id: Any) -> None:
    with pytest.raises(StepError, match="fileId: choose the CSV file"):
        csv.run("GetRow", filters={}, fileId=file_id)


def test_the_file_may_be_given_as_its_record(csv: Csv) -> None:
    recorder = csv.run("GetCell", filters={}, column="Name", fileId={"fileId": "f1", "filename": "a.csv"})
    assert recorder.sent == [("out", {"fileId": "f1", "cell": "Jiří"})]


def test_an_empty_file_has_no_rows_and_no_columns(csv: Csv) -> None:
    csv.write("")
    assert csv.run("GetRow", filters={}).sent[0][1]["row"] is None
    with pytest.raises(StepError, match="there is no column 'a'; the columns are none, the file is empty"):
        csv.run("GetCell", filters={}, column="a")


# -- encodings

TEXT = "Jméno,Věk\r\nŽluťoučký kůň úpěl ďábelské ódy,7\r\nPříliš žluťoučký,8\r\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1250"])
def test_encodings_are_detected(csv: Csv, encoding: str) -> None:
    csv.write(TEXT.encode(encoding))
    assert csv.run("GetRow", filters=where(("Věk", "=", "8"))).sent[0][1]["row"]["Jméno"] == "Příliš žluťoučký"
    assert csv.run("ExportCSV").sent == [("content", {"content": TEXT})]


def test_a_character_cut_in_two_by_a_block_of_the_file(csv: Csv) -> None:
    text = "a\n" + "x" * (64 * 1024 - 3) + "ř\n"
    csv.write(text)
    assert csv.run("ExportCSV").sent == [("content", {"content": text})]


def test_a_file_that_ends_within_a_character_can_be_read(csv: Csv) -> None:
    csv.write(b"a,b\n1,\xc5")
    assert csv.run("GetRow", filters={}).sent[0][1]["row"]["a"] == 1


def test_every_step_holds_the_lock_of_its_file(csv: Csv) -> None:
    for step in ("GetRow", "GetRows", "ExportCSV", "DeleteRows"):
        assert csv.run(step, filters={}).locked == ["csv:f1"]
    csv.world.locks.add("csv:f1")
    with pytest.raises(StepError) as caught:
        csv.run("GetRow", filters={})
    assert caught.value.code == "LOCK_NOT_ACQUIRED"
