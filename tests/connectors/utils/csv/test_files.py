"""Making, opening and designing with CSV files, and the vendor's own test flow step by step."""

from __future__ import annotations

from typing import Any

import pytest

from engine.sdk import StepError
from tests.connectors.recorder import run, transform
from tests.connectors.utils.csv.conftest import Csv
from tests.connectors.world import World

CSV = "appmixer.utils.csv."


def test_create_csv_emits_its_columns() -> None:
    world = World()
    content = {"filename": "a.csv", "initialContent": 'Name; "Total; all" ;\n1;2;3', "delimiter": ";"}
    [(port, out)] = run(CSV + "CreateCSV", {"in": content}, world=world).sent
    assert port == "out"
    record = world.files.records[out.pop("fileId")]
    assert out == {"Name": "Name", "Total; all": "Total; all"}
    assert (record.filename, record.content_type) == ("a.csv", "text/csv")
    assert world.files.blobs[record.file_id].decode() == content["initialContent"]


@pytest.mark.parametrize("text", ["", None, "\n\n"])
def test_create_csv_without_content(text: Any) -> None:
    content = {"filename": "a.csv", "initialContent": text, "delimiter": ","}
    assert set(run(CSV + "CreateCSV", {"in": content}).sent[0][1]) == {"fileId"}


def test_import_csv_emits_the_columns_of_a_file(csv: Csv) -> None:
    assert csv.run("ImportCSV", {}).sent == [("out", {"fileId": "f1", "Name": "Name", "Points": "Points"})]
    assert csv.run("ImportCSV", {"fileId": "f1"}, fileId=None).sent[0][1]["fileId"] == "f1"
    with pytest.raises(StepError, match="fileId"):
        csv.run("ImportCSV", {}, fileId=None)


def test_import_csv_saves_what_was_picked() -> None:
    world = World()
    properties = {"filePickerFilename": "b.csv", "filePickerContent": "x,y\n1,2"}
    [(port, out)] = run(CSV + "ImportCSV", {"in": {}}, properties=properties, world=world).sent
    assert port == "out"
    assert set(out) == {"fileId"}
    assert world.files.blobs[out["fileId"]] == b"x,y\n1,2"


def test_export_csv(csv: Csv) -> None:
    assert csv.run("ExportCSV").sent == [("content", {"content": "Name,Points\nJiří,43\nAbby,10\nBen,20\n"})]


# -- forms and variables

ALWAYS = {"fileId", "delimiter"}
PARSING = {"parseNumbers", "parseBooleans"}
FORMS: dict[str, tuple[set[str], set[str]]] = {
    "addRowInspector": ({"rowWithColumns"} | PARSING, {"row"} | PARSING),
    "updateRowsInspector": ({"filters", "values"} | PARSING, {"indexes", "indexedValues"} | PARSING),
    "deleteRowsInspector": ({"filters"} | PARSING, {"indexes"} | PARSING),
    "getRowInspector": ({"filters", "rowFormat"} | PARSING, {"index"} | PARSING),
    "getRowsInspector": (
        {"allAtOnce", "rowFormat", "filters"} | PARSING,
        {"allAtOnce", "indexes"} | PARSING,
    ),
    "getCellInspector": ({"filters", "column"} | PARSING, {"index", "columnIndex"} | PARSING),
    "addColumnInspector": (
        {"defaultValue", "columnName", "insertMode", "positioningColumn"} | PARSING,
        {"defaultValue", "index"} | PARSING,
    ),
    "deleteColumnsInspector": ({"columns"}, {"indexes"}),
}


def form(function: str, **settings: Any) -> dict[str, Any]:
    [(port, content)] = run(CSV + "CreateInspector", properties=settings).sent
    assert port == "out"
    assert content == settings
    made: dict[str, Any] = transform(CSV + "CreateInspector", f"./CreateInspector#{function}")(content)
    return made


@pytest.mark.parametrize("function", FORMS)
@pytest.mark.parametrize("named", [True, False])
def test_the_form_of_each_step(function: str, named: bool) -> None:
    made = form(function, withHeaders=named)
    inputs = made["inputs"]
    assert set(inputs) == ALWAYS | FORMS[function][not named]
    assert set(made["schema"]["properties"]) == set(inputs)
    assert set(made["schema"]["required"]) == set(inputs) - PARSING - {"defaultValue"} - (
        {"delimiter"} if function == "getCellInspector" else set()
    )
    assert [field["index"] for field in inputs.values()] == list(range(1, len(inputs) + 1))
    assert all(field["type"] and field["label"] and field["tooltip"] for field in inputs.values())
    assert not any("json" in field or "optional" in field for field in inputs.values())


def test_filters_are_an_expression_of_two_levels() -> None:
    filters = form("getRowInspector", withHeaders=True)["inputs"]["filters"]
    assert filters["levels"] == ["OR", "AND"]
    assert set(filters["fields"]) == {"column", "operator", "value"}
    options = [option["value"] for option in filters["fields"]["operator"]["options"]]
    assert options == ["=", "!=", ">", ">=", "<", "<=", "regex"]


def test_get_rows_without_a_filter_asks_for_none() -> None:
    assert "filters" not in form("getRowsInspector", withHeaders=True, filterRows=False)["inputs"]
    assert "indexes" not in form("getRowsInspector", withHeaders=False, filterRows=False)["inputs"]


def columns(properties: dict[str, Any], world: World | None = None) -> dict[str, str]:
    [(port, content)] = run(CSV + "GenerateOutputPort", properties=properties, world=world).sent
    assert port == "out"
    found: dict[str, str] = content
    return found


def test_columns_of_a_text_or_a_file(csv: Csv) -> None:
    assert columns({"initialContent": "a;b\n1;2", "delimiter": ";"}) == {"a": "a", "b": "b"}
    assert columns({"fileId": "f1", "delimiter": ","}, csv.world) == {"Name": "Name", "Points": "Points"}


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"initialContent": ""},
        {"initialContent": "{{{$.a.out.text}}}"},
        {"fileId": "{{{x}}}"},
        {"fileId": "missing"},
        {"initialContent": "a,b", "delimiter": "::"},
    ],
)
def test_without_anything_to_read_there_are_no_columns(properties: dict[str, Any]) -> None:
    assert columns(properties) == {}


def test_columns_as_variables() -> None:
    options = transform(CSV + "GenerateOutputPort", "./GenerateOutputPort#outputHeaders")({"Name": "Name"})
    assert [(option["label"], option["value"]) for option in options] == [("File ID", "fileId"), ("Name", "Name")]


# -- corpus/runnable-flows.md, `utils/csv/test-flow.json`


def test_the_steps_of_the_vendors_flow(csv: Csv) -> None:
    def where(*names: str) -> dict[str, Any]:
        return {"OR": [{"AND": [{"value": name, "operator": "=", "column": "Name"}]} for name in names]}

    csv.write("Name,Points\nJiří,43")
    csv.run(
        "AddRow", rowWithColumns={"AND": [{"value": "Abby", "column": "Name"}, {"value": "10", "column": "Points"}]}
    )
    assert csv.text == "Name,Points\nJiří,43\nAbby,10\n"
    csv.run("AddRows", {}, rows='[\n["Ben", 20],\n["Betty",21]\n]')
    assert csv.text == "Name,Points\nJiří,43\nAbby,10\nBen,20\nBetty,21\n"
    csv.run("UpdateRows", {"withHeaders": False}, indexes="2", indexedValues={"AND": [{"value": "22", "column": "1"}]})
    assert csv.text == "Name,Points\nJiří,43\nAbby,22\nBen,20\nBetty,21\n"
    csv.run("UpdateRows", filters=where("Jiří"), values={"AND": [{"value": "100", "column": "Points"}]})
    assert csv.text == "Name,Points\nJiří,100\nAbby,22\nBen,20\nBetty,21\n"
    assert csv.run("GetRow", filters=where("Jiří")).sent[0][1]["row"] == {"Name": "Jiří", "Points": 100}
    rows = csv.run("GetRows", {"withHeaders": True, "filterRows": True}, filters=where("Jiří", "Abby"), allAtOnce=True)
    assert rows.sent[0][1]["rows"] == [{"Name": "Jiří", "Points": 100}, {"Name": "Abby", "Points": 22}]
    csv.run("DeleteRows", filters=where("Ben"))
    assert csv.run("GetCell", filters=where("Jiří"), column="Points").sent[0][1]["cell"] == 100
    text = "Name,Points\nJiří,100\nAbby,22\nBetty,21\n"
    assert csv.run("ExportCSV").sent == [("content", {"content": text})]
