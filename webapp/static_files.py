"""Static files under /static/<release>/…, immutable, compressed once (design-browser.md §3).

`release` is a hash of the whole tree, computed at start: whatever changes, every address changes,
and relative module imports stay within one release. An address of an older release redirects.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path

from flask import Flask, Response, abort, redirect, request
from flask.typing import ResponseReturnValue

IMPORT = re.compile(r"""^\s*(?:import|export)\b[^'"]*?['"](\.{1,2}/[^'"]+)['"]""", re.MULTILINE)
TEXT = {".css", ".js", ".mjs", ".svg", ".json", ".txt"}
TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".woff2": "font/woff2", ".svg": "image/svg+xml"}
FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class StaticFile:
    """`packed` is the content as gzip, None where that saves nothing."""

    content: bytes
    packed: bytes | None
    mimetype: str


class StaticFiles:
    """The tree under `folder`, held in memory."""

    def __init__(self, folder: Path) -> None:
        self._files: dict[str, StaticFile] = {}
        digest = hashlib.blake2b(digest_size=8)
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                name, content = path.relative_to(folder).as_posix(), path.read_bytes()
                digest.update(f"{name}\0{len(content)}\0".encode() + content)
                self._files[name] = _load(path.suffix, content)
        self.release = digest.hexdigest()

    def url(self, name: str) -> str:
        """Address of a file by its path in the tree. Raises KeyError: a template names a file that is not there."""
        if name not in self._files:
            raise KeyError(f"static/{name} does not exist")
        return f"/static/{self.release}/{name}"

    def modules(self, entry: str) -> list[str]:
        """Addresses of an ES module and of all it imports, for `<link rel=modulepreload>`."""
        found: dict[str, None] = {}
        waiting = [entry]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found[name] = None
                waiting += reversed(self.imports(name))
        return [self.url(name) for name in found]

    def imports(self, name: str) -> list[str]:
        source = self._files[name].content.decode()
        return [
            posixpath.normpath(posixpath.join(posixpath.dirname(name), target)) for target in IMPORT.findall(source)
        ]

    def respond(self, release: str, name: str) -> ResponseReturnValue:
        file = self._files.get(name)
        if file is None:
            abort(404)
        if release != self.release:
            return redirect(self.url(name))
        packed = file.packed if request.accept_encodings.quality("gzip") > 0 else None
        response = Response(file.content if packed is None else packed, mimetype=file.mimetype)
        response.headers["Cache-Control"] = FOREVER
        if file.packed is not None:
            response.headers["Vary"] = "Accept-Encoding"
        if packed is not None:
            response.headers["Content-Encoding"] = "gzip"
        return response


def _load(suffix: str, content: bytes) -> StaticFile:
    mimetype = TYPES.get(suffix) or mimetypes.guess_type(f"x{suffix}")[0] or "application/octet-stream"
    packed = gzip.compress(content, 9, mtime=0) if suffix in TEXT else None
    return StaticFile(content, packed if packed is not None and len(packed) < len(content) else None, mimetype)


def register(app: Flask, folder: Path) -> StaticFiles:
    """Serve `folder`; gives templates `static_url(name)` and `static_modules(entry)`."""
    files = StaticFiles(folder)
    app.add_url_rule("/static/<release>/<path:name>", "static_file", files.respond)
    app.add_url_rule("/favicon.ico", "favicon", lambda: redirect(files.url("img/favicon.svg")))
    app.jinja_env.globals.update(static_url=files.url, static_modules=files.modules)
    return files
