from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from webapp import static_files
from webapp.static_files import StaticFiles

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "js").mkdir()
    (tmp_path / "img").mkdir()
    (tmp_path / "js/main.js").write_text('import { a } from "./a.js";\nimport "./b.js";\n' + "// text\n" * 50)
    (tmp_path / "js/a.js").write_text('export { b } from "../js/b.js";\n')
    (tmp_path / "js/b.js").write_text("export const b = \"import x from './none.js'\";\n")
    (tmp_path / "img/favicon.svg").write_text("<svg/>")
    return tmp_path


def client_of(folder: Path) -> tuple[StaticFiles, FlaskClient]:
    app = Flask("test", static_folder=None)
    files = static_files.register(app, folder)
    return files, app.test_client()


def test_files_are_immutable_and_compressed_for_those_who_take_it(folder: Path) -> None:
    files, client = client_of(folder)
    plain = client.get(files.url("js/main.js"))
    packed = client.get(files.url("js/main.js"), headers={"Accept-Encoding": "gzip, br"})
    assert plain.mimetype == "text/javascript"
    assert "immutable" in plain.headers["Cache-Control"]
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["Vary"] == "Accept-Encoding"
    assert gzip.decompress(packed.data) == plain.data == (folder / "js/main.js").read_bytes()


def test_an_old_release_leads_to_the_present_one(folder: Path) -> None:
    files, client = client_of(folder)
    answer = client.get("/static/0123456789abcdef/js/a.js")
    assert answer.status_code == 302
    assert answer.headers["Location"] == files.url("js/a.js")


@pytest.mark.parametrize("name", ["js/none.js", "../secret", "js/../../x", ""])
def test_what_is_not_in_the_tree_is_not_found(folder: Path, name: str) -> None:
    files, client = client_of(folder)
    assert client.get(f"/static/{files.release}/{name}").status_code == 404


def test_the_release_changes_with_any_file(folder: Path) -> None:
    before = StaticFiles(folder).release
    assert StaticFiles(folder).release == before
    (folder / "img/favicon.svg").write_text("<svg />")
    assert StaticFiles(folder).release != before


def test_a_template_cannot_name_a_missing_file(folder: Path) -> None:
    with pytest.raises(KeyError, match=r"css/none\.css"):
        StaticFiles(folder).url("css/none.css")


def test_modules_are_an_entry_and_all_it_imports_once(folder: Path) -> None:
    files = StaticFiles(folder)
    assert files.modules("js/main.js") == [files.url(f"js/{name}.js") for name in ("main", "a", "b")]


def test_every_module_of_the_product_is_preloaded_and_every_import_exists() -> None:
    files = StaticFiles(ROOT / "static")
    loaded = {url.rpartition("/")[2] for url in files.modules("js/main.js")}
    assert loaded | {"session.js"} == {path.name for path in (ROOT / "static/js").glob("*.js")}


def test_the_favicon_is_where_browsers_look_for_it(folder: Path) -> None:
    files, client = client_of(folder)
    assert client.get("/favicon.ico").headers["Location"] == files.url("img/favicon.svg")
