from __future__ import annotations

import csv as csv_library
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.appmixer.utils.csv import table
from engine.errors import Conflict
from engine.sdk import CancelError, Context, StepError
from tests.connectors.recorder import Recorder
from tests.connectors.utils.csv.conftest import Csv

BARE = {"withHeaders": False}
BEN = {"OR": [{"AND": [{"column": "Name", "operator": "=", "value": "Ben"}]}]}
DONE = [("fileId", {"fileId": "f1"})]


def cells(*pairs: tuple[Any, Any]) -> dict[str, Any]:
    return {"AND": [{"column": column, "value": value} for column, value in pairs]}


# -- AddRow, AddRows


def test_add_row_by_column_names(csv: Csv) -> None:
    recorder = csv.run("AddRow", rowWithColumns=cells(("Points", 5), ("Name", "Eve"), ("Other", "lost")))
    assert recorder.sent == DONE
    assert csv.text.endswith("Ben,20\nEve,5\n")


def test_columns_that_are_left_out_stay_empty(csv: Csv) -> None:
    csv.run("AddRow", rowWithColumns=cells(("Points", 5)))
    assert csv.text.endswith("\n,5\n")


@pytest.mark.parametrize(
    "row, line", [("Eve,5", "Eve,5"), (["Eve", 5], "Eve,5"), ('"a, b",5', '"a, b",5'), (["a, b"], '"a, b"')]
)
def test_add_row_as_text_or_list(csv: Csv, row: Any, line: str) -> None:
    assert csv.run("AddRow", BARE, row=row).sent == DONE
    assert csv.text.endswith(f"Ben,20\n{line}\n")


@pytest.mark.parametrize("row", [None, "", 5])
def test_add_row_needs_a_row(csv: Csv, row: Any) -> None:
    before = csv.content
    with pytest.raises(StepError, match="row"):
        csv.run("AddRow", BARE, row=row)
    assert csv.content == before


@pytest.mark.parametrize("rows", [[["Eve", 5], ["Ann", 6]], '[["Eve", 5], ["Ann", 6]]'])
def test_add_rows_as_lists(csv: Csv, rows: Any) -> None:
    assert csv.run("AddRows", {}, rows=rows).sent == DONE
    assert csv.text.endswith("Ben,20\nEve,5\nAnn,6\n")


@pytest.mark.parametrize("with_headers", [True, False])
def test_add_rows_as_objects(csv: Csv, with_headers: bool) -> None:
    rows = [{"Points": 0, "Name": "Eve"}, {"Name": None, "Points": False}, {}, {"Name": ["a"], "Points": 1.0}]
    csv.run("AddRows", {}, rows=rows, withHeaders=with_headers)
    assert csv.text.endswith('Ben,20\nEve,0\n,false\n,\n"[""a""]",1\n')


@pytest.mark.parametrize("rows", ["", "nonsense", "5", {}, None, '{"a": 1}'])
def test_rows_that_are_no_list_discard_the_message(csv: Csv, rows: Any) -> None:
    with pytest.raises(CancelError, match="rows: must be a list"):
        csv.run("AddRows", {}, rows=rows)


def test_a_row_that_is_none_is_refused(csv: Csv) -> None:
    before = csv.content
    with pytest.raises(StepError, match="each row must be an object or a list, not 5"):
        csv.run("AddRows", {}, rows=[["a", 1], 5])
    assert csv.content == before


def test_no_rows_change_nothing(csv: Csv) -> None:
    csv.write("a,b")
    csv.run("AddRows", {}, rows=[])
    assert csv.text == "a,b"


@pytest.mark.parametrize("start", ["a,b\n1,  2", "a,b\n1,  2\n"])
def test_what_is_there_is_untouched_but_for_a_line_end(csv: Csv, start: str) -> None:
    csv.write(start)
    csv.run("AddRows", {}, rows=[[3, 4]])
    assert csv.text == "a,b\n1,  2\n3,4\n"


def test_line_ends_of_the_file_are_kept(csv: Csv) -> None:
    csv.write("a,b\r\n1,2")
    csv.run("AddRows", {}, rows=[[3, 4]])
    assert csv.text == "a,b\r\n1,2\r\n3,4\r\n"
    csv.run("DeleteRows", filters={})
    assert csv.text == "a,b\r\n"


def test_rows_for_an_empty_file(csv: Csv) -> None:
    csv.write("")
    csv.run("AddRows", {}, rows=[[1, 2]])
    assert csv.text == "1,2\n"
    csv.write("")
    csv.run("AddRow", rowWithColumns=cells(("b", 1), ("a", 2)))
    csv.run("AddRow", rowWithColumns=cells(("a", 3)))
    assert csv.text == "b,a\n1,2\n,3\n"


@pytest.mark.parametrize(
    "encoding, bom", [("utf-8", b"\xef\xbb\xbf"), ("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff")]
)
def test_unicode_encodings_are_kept(csv: Csv, encoding: str, bom: bytes) -> None:
    csv.write(bom + "Name,b\ně,1".encode(encoding))
    csv.run("AddRows", {}, rows=[{"Name": "š"}])
    assert csv.content == bom + "Name,b\ně,1\nš,\n".encode(encoding)
    csv.run("DeleteRows", filters={"OR": [{"AND": [{"column": "b", "operator": "=", "value": 1}]}]})
    assert csv.content == bom + "Name,b\nš,\n".encode(encoding)


CZECH = "Jméno,Věk\nŽluťoučký kůň úpěl ďábelské ódy,7\nPříliš žluťoučký kůň,8\n"


def test_other_encodings_are_kept_while_rows_fit_and_become_utf8_when_rewritten(csv: Csv) -> None:
    csv.write(CZECH.encode("cp1250"))
    csv.run("AddRows", {}, rows=[["Čeněk", 1]])
    assert csv.content == (CZECH + "Čeněk,1\n").encode("cp1250")
    csv.run("AddRows", {}, rows=[["日本", 2]])
    assert csv.text == CZECH + "Čeněk,1\n日本,2\n"
    csv.write(CZECH.encode("cp1250"))
    csv.run("RenameColumn", columnName="Věk", newColumnName="Age")
    assert csv.text == CZECH.replace("Věk", "Age")


# -- UpdateRows, DeleteRows


def test_update_rows(csv: Csv) -> None:
    assert csv.run("UpdateRows", filters=BEN, values=cells(("Points", "21"), ("Name", "Benny, jr."))).sent == DONE
    assert csv.text == 'Name,Points\nJiří,43\nAbby,10\n"Benny, jr.",21\n'


def test_an_empty_filter_updates_all_rows_but_not_the_header(csv: Csv) -> None:
    csv.run("UpdateRows", filters={}, values=cells(("Points", 0)))
    assert csv.text == "Name,Points\nJiří,0\nAbby,0\nBen,0\n"


def test_update_rows_by_index(csv: Csv) -> None:
    csv.run("UpdateRows", BARE, indexes="0,2", indexedValues=cells(("1", "22"), (3, True)))
    assert csv.text == "Name,22,,true\nJiří,43\nAbby,22,,true\nBen,20\n"


def test_unknown_columns_are_refused_and_nothing_changes(csv: Csv) -> None:
    before = csv.content
    with pytest.raises(StepError, match="there is no column 'Age'"):
        csv.run("UpdateRows", filters=BEN, values=cells(("Age", 1)))
    with pytest.raises(StepError, match="indexedValues"):
        csv.run("UpdateRows", BARE, indexes="0", indexedValues=cells(("x", 1)))
    assert csv.content == before
    assert csv.world.locks == set()


def test_delete_rows(csv: Csv) -> None:
    assert csv.run("DeleteRows", filters=BEN).sent == DONE
    assert csv.text == "Name,Points\nJiří,43\nAbby,10\n"
    csv.run("DeleteRows", filters=None)
    assert csv.text == "Name,Points\n"


def test_delete_rows_by_index(csv: Csv) -> None:
    csv.run("DeleteRows", BARE, indexes="0-1,3")
    assert csv.text == "Abby,10\n"


def test_rewriting_leaves_other_cells_as_they_are(csv: Csv) -> None:
    rows = '"a, b",007,"two\nlines","say ""hi""",+44 1,1.50,true\n'
    csv.write("q,n,l,s,p,f,Name\n" + rows + ",,,,,,Ben\n")
    csv.run("DeleteRows", filters=BEN)
    assert csv.text == "q,n,l,s,p,f,Name\n" + rows


def test_a_row_with_one_empty_cell_survives(csv: Csv) -> None:
    csv.write('Name\n""\nBen\n')
    csv.run("DeleteRows", filters=BEN)
    assert csv.text == 'Name\n""\n'


# -- columns


def test_add_column(csv: Csv) -> None:
    where: dict[str, Any] = {"insertMode": "afterColumn", "positioningColumn": "Name", "defaultValue": "x, y"}
    assert csv.run("AddColumn", columnName="Kind", **where).sent == DONE
    assert csv.text == 'Name,Kind,Points\nJiří,"x, y",43\nAbby,"x, y",10\nBen,"x, y",20\n'
    csv.run("AddColumn", columnName="Id", insertMode="beforeColumn", positioningColumn="Name")
    assert csv.text.startswith("Id,Name,Kind,Points\n,Jiří,")


@pytest.mark.parametrize("index", [0, "0"])
def test_add_column_by_index(csv: Csv, index: Any) -> None:
    csv.run("AddColumn", BARE, index=index, defaultValue=7)
    assert csv.text == "7,Name,Points\n7,Jiří,43\n7,Abby,10\n7,Ben,20\n"


def test_a_column_behind_the_last_one_is_the_new_last_one(csv: Csv) -> None:
    csv.write("a,b\n1\n1,2\n")
    csv.run("AddColumn", BARE, index=99, defaultValue="z")
    assert csv.text == "a,b,z\n1,,z\n1,2,z\n"


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"columnName": "x", "insertMode": "afterColumn", "positioningColumn": "no"}, "there is no column 'no'"),
        ({"columnName": "x", "insertMode": "inside", "positioningColumn": "Name"}, "insertMode"),
    ],
)
def test_a_column_needs_a_place(csv: Csv, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(StepError, match=message):
        csv.run("AddColumn", **fields)
    with pytest.raises(StepError, match="index: must be a number from 0"):
        csv.run("AddColumn", BARE)


def test_rename_column(csv: Csv) -> None:
    assert csv.run("RenameColumn", {}, columnName="Points", newColumnName="Score, total").sent == DONE
    assert csv.text.startswith('Name,"Score, total"\nJiří,43\n')
    with pytest.raises(StepError, match="there is no column 'Points'"):
        csv.run("RenameColumn", {}, columnName="Points", newColumnName="x")


def test_delete_columns(csv: Csv) -> None:
    csv.write("a,b,c\n1,2,3\n4,5\n")
    assert csv.run("DeleteColumns", columns="c,a").sent == DONE
    assert csv.text == "b\n2\n5\n"
    with pytest.raises(StepError, match="there is no column ' b'"):
        csv.run("DeleteColumns", columns="b, b")


def test_delete_columns_by_index(csv: Csv) -> None:
    csv.write("a,b,c\n1,2,3\n4,5\n")
    csv.run("DeleteColumns", BARE, indexes="1-2")
    assert csv.text == "a\n1\n4\n"
    csv.run("DeleteColumns", BARE, indexes="0")
    assert csv.text == ""


# -- two at a time, and twice


@pytest.mark.parametrize(
    "type, fields", [("AddRow", {"rowWithColumns": cells(("Name", "Eve"))}), ("DeleteRows", {"filters": BEN})]
)
def test_a_change_by_somebody_else_meanwhile_is_kept(
    csv: Csv, monkeypatch: pytest.MonkeyPatch, type: str, fields: dict[str, Any]
) -> None:
    """As when the lock ran out: the file is another by the time it is written."""

    def changed_after(context: Context, file_id: str) -> table.Shape:
        found = shape(context, file_id)
        csv.write(csv.text + "Kim,1\n")
        return found

    shape = table.shape
    monkeypatch.setattr(table, "shape", changed_after)
    before = csv.text
    with pytest.raises(Conflict, match="f1 was changed"):
        csv.run(type, **fields)
    assert csv.text == before + "Kim,1\n"


def test_a_redelivered_row_that_changed_the_encoding_is_added_once(csv: Csv) -> None:
    csv.write("Größe,Wert\nmüßig,1\n".encode("latin-1"))
    for _ in range(2):
        recorder = Recorder("appmixer.utils.csv.AddRow", properties=BARE, world=csv.world)
        fields = {"fileId": "f1", "delimiter": ",", "row": "Ωmega,2"}
        assert recorder.receive({"in": fields}, message_id="m1").sent == DONE
    assert csv.text == "Größe,Wert\nmüßig,1\nΩmega,2\n"


TABLES = st.integers(1, 4).flatmap(
    lambda width: st.lists(
        st.lists(
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6), min_size=width, max_size=width
        ),
        min_size=1,
        max_size=6,
    )
)


@given(TABLES, st.sampled_from([",", ";", "\t", "|"]))
def test_rewriting_without_a_change_loses_nothing(rows: list[list[str]], delimiter: str) -> None:
    """Cells are trimmed, and that is all that happens to them."""
    csv = Csv()
    buffer = io.StringIO(newline="")
    csv_library.writer(buffer, delimiter=delimiter, quoting=csv_library.QUOTE_ALL).writerows(rows)
    csv.write(buffer.getvalue())
    csv.run("DeleteColumns", BARE, indexes="99", delimiter=delimiter)
    read = list(csv_library.reader(io.StringIO(csv.text, newline=""), delimiter=delimiter))
    assert read == [[cell.strip() for cell in row] for row in rows]
