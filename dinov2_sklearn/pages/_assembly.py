"""A page in one file: what all pages share, what a room adds, and the data, put together."""

import base64
import gzip
import hashlib
import json
import os
import re
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["bundle", "check_page_name", "compressed", "packed", "render_page"]

_IMPORT = re.compile(r'^import (\{[^}]*\}) from "(?:[^"]*/)?(\w+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:(?:async )?function\*?|const|class) ([\w$]+))", re.MULTILINE)


def render_page(
    room: str,
    data: Mapping[str, Any],
    attached: Mapping[str, str] | None = None,
    *,
    image_sources: str = "",
) -> str:
    """Write a page's HTML, which is ASCII and asks for no other file.

    What users named (files, groups, titles) stands in the page only inside its compressed data,
    so that nothing of it can be taken for markup; and no script runs but the page's own.

    Parameters
    ----------
    room : str
        The package whose folder ``_web`` has ``body.html``, ``page.css`` and ``main.js``.
    data : mapping
        What the scripts find as ``page``: its ``title``, its ``facts``, and what else JSON holds.
    attached : mapping of str to str, default=None
        Further texts by the id of their element, each `compressed` or in base64.
    image_sources : str, default=""
        Where images may come from beside files and the page itself, as a content policy has it.

    Returns
    -------
    str
    """
    folders = _folders(room)
    styles = [_read(folder, "page.css") for folder in reversed(folders)]
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    texts = {"data": compressed(text.encode("ascii")), **(attached or {})}
    script = f"\n{bundle(room, 'main.js')}\n"
    parts = {
        "style": "\n".join(styles),
        "digest": base64.b64encode(hashlib.sha256(script.encode("ascii")).digest()).decode("ascii"),
        "sources": image_sources and f" {image_sources}",
        "body": _read(folders[0], "body.html"),
        "attached": "\n".join(
            f'<script type="text/plain" id="{name}">{text}</script>' for name, text in texts.items()
        ),
        "script": script,
    }
    return re.sub(r"<!-- (\w+) -->", lambda match: parts[match[1]], _read(folders[1], "frame.html"))


def bundle(room: str, *entries: str) -> str:
    """Join modules and what they import into one: each once, in a scope of its own.

    What a module ``name.js`` exports is then in the object ``$name``.
    """
    folders, modules = _folders(room), dict[str, str]()

    def add(name: str) -> None:
        code = _read(next(folder for folder in folders if (folder / name).is_file()), name)
        for _, needed in _IMPORT.findall(code):
            if needed not in modules:
                add(f"{needed}.js")
        exports = ", ".join(_EXPORT.findall(code))
        code = _IMPORT.sub(lambda line: f"const {line[1]} = ${line[2]};", _EXPORT.sub("", code))
        stem = name.removesuffix(".js")
        modules[stem] = (
            f"const ${stem} = await (async () => {{\n{code}\nreturn {{ {exports} }};\n}})();"
        )

    for entry in entries:
        add(entry)
    return "\n".join(modules.values())


def packed(values: ArrayLike, kind: str) -> str:
    """Write numbers as base64 of their bytes, of a dtype such as ``"<f4"``."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode("ascii")


def compressed(data: bytes) -> str:
    """Compress what `unpack` in ``page.js`` reads."""
    return base64.b64encode(gzip.compress(data, mtime=0)).decode("ascii")


def check_page_name(path: str | os.PathLike[str], instead: str) -> None:
    """Refuse a file whose name does not end as a web page's, and say what writes pictures."""
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise ValueError(
            f"Cannot write {os.fspath(path)!r}: a web page's name ends in .html. For a picture "
            f"use {instead}."
        )


def _folders(room: str) -> list[Traversable]:
    return [files(package) / "_web" for package in (room, __package__)]


def _read(folder: Traversable, name: str) -> str:
    return (folder / name).read_text(encoding="ascii").rstrip()
