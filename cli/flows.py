"""`headrace flow …`."""

from __future__ import annotations

from pathlib import Path

import click
import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.client import connect
from engine import settings

ALL = "/flows?limit=1000&projection=name,stage,mtime&filter=userId:!nobody"
"""An administrator who filters by owner reaches everybody's flows (rest-api.md §1 for `!`)."""


@click.group()
def flow() -> None:
    """List, import, export, start, stop and remove flows."""


@flow.command("ls")
@click.argument("flow_id", required=False)
def list_flows(flow_id: str | None) -> None:
    """All flows, or one as JSON."""
    with connect(settings.load()) as api:
        if flow_id:
            record = api.call("GET", f"/flows/{flow_id}")
            click.echo(orjson.dumps(record, option=orjson.OPT_INDENT_2))
            return
        flows = api.call("GET", ALL)
    table = Table("Flow", "Name", "State", "Changed", box=None)
    for item in flows:
        table.add_row(item["flowId"], escape(item.get("name", "")), item.get("stage", ""), str(item.get("mtime", "")))
    Console(width=None if Console().is_terminal else 200).print(table if flows else "There are no flows yet.")


@flow.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def import_flows(files: tuple[Path, ...]) -> None:
    """Create the flows of exported JSON files. A file that holds no flow keeps all of them out."""
    from engine.services.flow_files import read_file

    records = [(path, record) for path in files for record in read_file(path.name, path.read_bytes())]
    with connect(settings.load()) as api:
        for path, record in records:
            created = api.call("POST", "/flows", record)
            click.echo(f"{created['flowId']}  {path.name}")


@flow.command("export")
@click.argument("flow_id")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A file; default: standard output."
)
def export_flow(flow_id: str, output: Path | None) -> None:
    """A flow as JSON, ready to be imported anywhere."""
    from engine.services.flow_files import write_file

    with connect(settings.load()) as api:
        content = write_file(api.call("GET", f"/flows/{flow_id}"))
    if output is None:
        click.echo(content, nl=False)
    else:
        output.write_bytes(content)


@flow.command()
@click.argument("flow_id")
def start(flow_id: str) -> None:
    """Start a flow. It runs while a server (`headrace up`) or a worker does."""
    with connect(settings.load()) as api:
        api.call("POST", f"/flows/{flow_id}/coordinator", {"command": "start"})
        warnings = api.call("GET", f"/flows/{flow_id}/validate")["warnings"]
    for warning in warnings:
        click.echo(f"warning: {warning['message']}", err=True)
    click.echo(f"{flow_id} started")


@flow.command()
@click.argument("flow_id")
def stop(flow_id: str) -> None:
    """Stop a flow."""
    with connect(settings.load()) as api:
        api.call("POST", f"/flows/{flow_id}/coordinator", {"command": "stop"})
    click.echo(f"{flow_id} stopped")


@flow.command("rm")
@click.argument("flow_id")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def remove(flow_id: str, yes: bool) -> None:
    """Stop and delete a flow."""
    if not yes:
        click.confirm(f"Delete flow {flow_id}? This cannot be undone", abort=True)
    with connect(settings.load()) as api:
        api.call("DELETE", f"/flows/{flow_id}")
    click.echo(f"{flow_id} deleted")
