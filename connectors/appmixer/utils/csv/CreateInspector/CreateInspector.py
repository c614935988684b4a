"""The forms of the CSV steps, which depend on their settings: transforms of the component's output.

Each takes {withHeaders, filterRows?} and gives {inputs, schema} (engine.md §2, `source`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connectors.appmixer.utils._kit.inputs import flag
from connectors.appmixer.utils.csv.filters import OPERATORS

Field = dict[str, Any]
Settings = Mapping[str, Any]

_OPERATOR_LABELS = {
    "=": "equals",
    "!=": "differs from",
    ">": "is greater than",
    ">=": "is at least",
    "<": "is less than",
    "<=": "is at most",
    "regex": "matches the expression",
}


def _field(kind: str, label: str, tooltip: str, *, json: Any = None, optional: bool = False, **more: Any) -> Field:
    """One input; `json` is its JSON type in the schema (None: any)."""
    return {"type": kind, "label": label, "tooltip": tooltip, "json": json, "optional": optional, **more}


def _file() -> Field:
    return _field("filepicker", "File", "The CSV file.")


def _delimiter(*, optional: bool = False) -> Field:
    tooltip = "The character between two columns; <code>\\t</code> is a tab."
    return _field("text", "Delimiter", tooltip, json="string", optional=optional, defaultValue=",")


def _parsing() -> dict[str, Field]:
    numbers = "Treat cells that look like numbers as numbers, not as text."
    booleans = "Treat the cells <code>true</code> and <code>false</code> as booleans, not as text."
    more: Field = {"json": "boolean", "optional": True, "defaultValue": True}
    return {
        "parseNumbers": _field("toggle", "Read numbers", numbers, **more),
        "parseBooleans": _field("toggle", "Read true and false", booleans, **more),
    }


def _filters() -> Field:
    fields = {
        "column": {"type": "text", "label": "Column", "index": 1, "required": True},
        "operator": {
            "type": "select",
            "label": "Operator",
            "index": 2,
            "defaultValue": "=",
            "options": [{"label": _OPERATOR_LABELS[sign], "value": sign} for sign in OPERATORS],
        },
        "value": {"type": "text", "label": "Value", "index": 3},
    }
    tooltip = "The rows that are meant; without any condition it is all of them."
    return _field("expression", "Rows where", tooltip, json="object", levels=["OR", "AND"], fields=fields)


def _cells(column: str, label: str, tooltip: str) -> Field:
    fields = {
        "column": {"type": "text", "label": column, "index": 1, "required": True},
        "value": {"type": "text", "label": "Value", "index": 2},
    }
    return _field("expression", label, tooltip, json="object", levels=["AND"], fields=fields)


def _indexes(what: str) -> Field:
    return _field("text", f"{what} numbers", "Counted from 0, such as <code>0,3,6-7</code>.", json="string")


def _index(what: str) -> Field:
    return _field("number", f"{what} number", "Counted from 0.", json="number")


def _row_format() -> Field:
    options = [{"label": "Object, by column name", "value": "object"}, {"label": "List of cells", "value": "array"}]
    return _field("select", "Row as", "The form of a row.", json="string", defaultValue="object", options=options)


def _form(fields: Mapping[str, Field]) -> dict[str, Any]:
    inputs: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    for position, (name, field) in enumerate(fields.items(), 1):
        shown = {key: value for key, value in field.items() if key not in ("json", "optional")}
        inputs[name] = {**shown, "index": position}
        properties[name] = {"type": field["json"]} if field["json"] else {}
    required = [name for name, field in fields.items() if not field["optional"]]
    return {"inputs": inputs, "schema": {"type": "object", "properties": properties, "required": required}}


def _named(settings: Settings) -> bool:
    return flag(settings.get("withHeaders"), default=True)


def addRowInspector(settings: Settings) -> dict[str, Any]:
    row = (
        {"rowWithColumns": _cells("Column", "Cells", "The cells of the new row; columns that are left out stay empty.")}
        if _named(settings)
        else {"row": _field("text", "Row", "The cells, with the delimiter between them, or a list.")}
    )
    return _form({"fileId": _file(), "delimiter": _delimiter(), **row, **_parsing()})


def updateRowsInspector(settings: Settings) -> dict[str, Any]:
    what = (
        {"filters": _filters(), "values": _cells("Column", "Set cells", "The cells to set in each of these rows.")}
        if _named(settings)
        else {
            "indexes": _indexes("Row"),
            "indexedValues": _cells("Column number", "Set cells", "The cells to set in each of these rows."),
        }
    )
    return _form({"fileId": _file(), "delimiter": _delimiter(), **what, **_parsing()})


def deleteRowsInspector(settings: Settings) -> dict[str, Any]:
    what = {"filters": _filters()} if _named(settings) else {"indexes": _indexes("Row")}
    return _form({"fileId": _file(), "delimiter": _delimiter(), **what, **_parsing()})


def getRowInspector(settings: Settings) -> dict[str, Any]:
    what = {"filters": _filters(), "rowFormat": _row_format()} if _named(settings) else {"index": _index("Row")}
    return _form({"fileId": _file(), "delimiter": _delimiter(), **what, **_parsing()})


def getRowsInspector(settings: Settings) -> dict[str, Any]:
    tooltip = "On: one message with all rows. Off: one message for each row."
    fields = {"allAtOnce": _field("toggle", "All rows at once", tooltip, json="boolean", defaultValue=True)}
    if _named(settings):
        fields["rowFormat"] = _row_format()
    if flag(settings.get("filterRows"), default=True):
        fields.update({"filters": _filters()} if _named(settings) else {"indexes": _indexes("Row")})
    return _form({"fileId": _file(), "delimiter": _delimiter(), **fields, **_parsing()})


def getCellInspector(settings: Settings) -> dict[str, Any]:
    what = (
        {"filters": _filters(), "column": _field("text", "Column", "The column of the cell.", json="string")}
        if _named(settings)
        else {"index": _index("Row"), "columnIndex": _index("Column")}
    )
    return _form({"fileId": _file(), "delimiter": _delimiter(optional=True), **what, **_parsing()})


def addColumnInspector(settings: Settings) -> dict[str, Any]:
    options = [
        {"label": "After the column", "value": "afterColumn"},
        {"label": "Before the column", "value": "beforeColumn"},
    ]
    where = (
        {
            "columnName": _field("text", "Name", "Name of the new column.", json="string"),
            "insertMode": _field(
                "select", "Place", "On which side of the other column.", json="string",
                defaultValue="afterColumn", options=options,
            ),
            "positioningColumn": _field("text", "Other column", "The column next to it.", json="string"),
        }
        if _named(settings)
        else {"index": _index("Column")}
    )  # fmt: skip
    value = _field("text", "Value", "What stands in every row of the new column.", json="string", optional=True)
    return _form({"fileId": _file(), "delimiter": _delimiter(), **where, "defaultValue": value, **_parsing()})


def deleteColumnsInspector(settings: Settings) -> dict[str, Any]:
    names = _field("text", "Columns", "Names of the columns, with commas between them.", json="string")
    what = {"columns": names} if _named(settings) else {"indexes": _indexes("Column")}
    return _form({"fileId": _file(), "delimiter": _delimiter(), **what})
