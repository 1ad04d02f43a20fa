"""The forms in which a selection is written, each for the tool that reads it."""

import csv
import json
import os
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from ...images import ImageDecodeError, ImageRef, image_size
from ._reading import COCO, LABEL_STUDIO_PREFIX, PAGE_FORMAT

__all__ = ["COLUMNS", "Picks", "choose_format"]

COLUMNS = ("rank", "index", "filepath", "score", "cluster", "distance_to_selected")


class Picks(NamedTuple):
    """What was picked, in pick order.

    Attributes
    ----------
    rows : list of tuple
        The values of `COLUMNS` for each pick, None where there is none.
    record : dict
        How it was made.
    root : Path or None
        The folder that paths are written relative to.
    """

    rows: list[tuple]
    record: dict[str, Any]
    root: Path | None

    def filepaths(self) -> list[str]:
        """Return the paths as they were given."""
        return [row[2] for row in self.rows]

    def relative(self) -> list[str]:
        """Return the paths relative to the root, with forward slashes."""
        if self.root is None:
            return [path.replace(os.sep, "/") for path in self.filepaths()]
        return [_relative(path, self.root) for path in self.filepaths()]


class Format(NamedTuple):
    """How a form is written, its extension, and whether a sidecar says how it was made."""

    text: Callable[[Picks], str]
    suffix: str
    sidecar: bool


def choose_format(path: Path, name: str | None) -> Format:
    """Return the form of this name, or the one that the file's extension stands for."""
    if name is None:
        name = path.suffix.lower().removeprefix(".")
        if name not in ("csv", "txt", "json"):
            has = f"the extension {path.suffix!r}" if path.suffix else "no extension"
            raise ValueError(
                f"{str(path)!r} has {has}. A selection is a .csv, a .txt or a .json; or name its "
                f"format, one of {', '.join(map(repr, _FORMATS))}."
            )
    if name not in _FORMATS:
        raise ValueError(f"format must be one of {', '.join(map(repr, _FORMATS))}, got {name!r}.")
    chosen = _FORMATS[name]
    if path.suffix.lower() != chosen.suffix and (path.is_file() or not path.exists()):
        raise ValueError(
            f"{str(path)!r} should end in {chosen.suffix!r}, as a selection of the format {name!r} "
            "does: it is read back by its extension."
        )
    return chosen


def _csv(picks: Picks) -> str:
    text = StringIO()
    # The default line end, CRLF, also makes the writer quote a lone carriage return in a path.
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows(["" if value is None else value for value in row] for row in picks.rows)
    return text.getvalue()


def _txt(picks: Picks) -> str:
    for path in picks.filepaths():
        if len(path.splitlines()) != 1 or path.startswith("\ufeff"):
            raise ValueError(
                f"The path {path!r} is empty, has a line break or begins with a byte-order mark, "
                "which a list of one path a line cannot hold. Write a .csv or a .json."
            )
    return "".join(f"{path}\n" for path in picks.filepaths())


def _json(picks: Picks) -> str:
    contents = {
        "format": PAGE_FORMAT,
        "version": 1,
        "indices": [row[1] for row in picks.rows],
        "paths": picks.filepaths(),
        "picks": [dict(zip(COLUMNS, row, strict=True)) for row in picks.rows],
        "made": picks.record,
    }
    return json.dumps(contents, indent=1) + "\n"


def _coco(picks: Picks) -> str:
    images = []
    named = zip(picks.rows, picks.filepaths(), picks.relative(), strict=True)
    for image_id, (row, path, name) in enumerate(named, start=1):
        try:
            width, height = image_size(path)
        except ImageDecodeError as error:
            raise ValueError(
                f"COCO keeps each image's size, and {path!r} cannot be opened: {error.reason}"
            ) from error
        images.append(
            {"id": image_id, "file_name": name, "width": width, "height": height, "rank": row[0]}
        )
    info = {"description": COCO, **picks.record}
    contents = {"info": info, "images": images, "annotations": [], "categories": []}
    return json.dumps(contents, indent=1) + "\n"


def _label_studio(picks: Picks) -> str:
    if picks.root is None:
        raise ValueError(
            "Label Studio finds images relative to its LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT: "
            "give that folder as root."
        )
    tasks = []
    for row, name in zip(picks.rows, picks.relative(), strict=True):
        if ImageRef(name).is_url:
            raise ValueError(
                f"Label Studio's local storage holds files, not URLs such as {name!r}: copy the "
                "images, and write the tasks of the copies."
            )
        details = {key: row[COLUMNS.index(key)] for key in ("rank", "index", "score", "cluster")}
        # The server reads the path from a URL's query: what has a meaning there is escaped.
        image = LABEL_STUDIO_PREFIX + quote(os.fsencode(name), safe="/")
        tasks.append({"data": {"image": image, **details}})
    return json.dumps(tasks, indent=1) + "\n"


def _relative(path: str, root: Path) -> str:
    if ImageRef(path).is_url:
        return path
    absolute, base = os.path.abspath(path), os.path.abspath(root)  # noqa: PTH100 - keeps links
    if os.path.commonpath([absolute, base]) != base:
        raise ValueError(f"{path!r} is not inside root={str(root)!r}.")
    return os.path.relpath(absolute, base).replace(os.sep, "/")


_FORMATS = {
    "csv": Format(_csv, ".csv", sidecar=True),
    "txt": Format(_txt, ".txt", sidecar=True),
    "json": Format(_json, ".json", sidecar=False),
    "coco": Format(_coco, ".json", sidecar=False),
    "label-studio": Format(_label_studio, ".json", sidecar=True),
}
