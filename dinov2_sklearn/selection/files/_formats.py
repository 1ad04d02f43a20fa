"""The formats of selections: how each is written, and beside it how it is read back."""

import csv
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...images import Fragment, ImageDecodeError, ImageRef, image_size
from ...utils import from_local_storage, to_local_storage
from ._selection import COLUMNS, Selection

__all__ = ["PAGE_FORMAT", "SelectionFormat", "choose_format", "parse", "to_json"]

PAGE_FORMAT = "dinov2_sklearn selection"

_COCO = "images selected by dinov2_sklearn"
_COCO_KEYS = ("id", "file_name", "width", "height", "rank", "license", "date_captured")
_OBJECT = "object"  # what a box without a label is called
_FIFTYONE_KEYS = ("part", "bounding_box")
_TASK_KEYS = ("rank", "index", "score", "cluster")


class SelectionFormat(NamedTuple):
    """One format of selections.

    Attributes
    ----------
    write : callable
        Turns a selection into text; paths are relative to a folder or None, where the format has
        relative paths.
    read : callable
        Turns that text, or what it holds as JSON, into a selection.
    suffix : str
        Extension of its files.
    sidecar : bool
        Whether a second file says how the selection was made.
    """

    write: Callable[[Selection, Path | None], str]
    read: Callable[[Any, Path | None], Selection]
    suffix: str
    sidecar: bool


def choose_format(path: Path, name: str | None) -> SelectionFormat:
    """Return the format of this name, or the one that the file's extension stands for."""
    known = ", ".join(map(repr, FORMATS))
    if name is None:
        name = path.suffix.lower().removeprefix(".")
        if name not in ("csv", "txt", "json"):
            has = f"the extension {path.suffix!r}" if path.suffix else "no extension"
            raise ValueError(
                f"{str(path)!r} has {has}. A selection is a .csv, a .txt or a .json; or name its "
                f"format, one of {known}."
            )
    if name not in FORMATS:
        raise ValueError(f"format must be one of {known}, got {name!r}.")
    chosen = FORMATS[name]
    if path.suffix.lower() != chosen.suffix and (path.is_file() or not path.exists()):
        raise ValueError(
            f"{str(path)!r} should end in {chosen.suffix!r}, as a selection of the format {name!r} "
            "does: it is read back by its extension."
        )
    return chosen


def parse(text: str, suffix: str, root: Path | None) -> Selection:
    """Read the text of a file with this extension."""
    if suffix != ".json":
        return FORMATS[suffix.removeprefix(".")].read(text, root)
    contents = json.loads(text)
    if isinstance(contents, list):
        return _read_label_studio(contents, root)
    return (_read_coco if "images" in contents else _read_json)(contents, root)


def to_json(value: Any) -> Any:
    """Say in JSON what JSON has no type for: numpy numbers, paths, callable strategies."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    name = getattr(value, "__qualname__", None)
    return repr(value) if name is None else f"{value.__module__}.{name}"


def _write_csv(selection: Selection, root: Path | None) -> str:
    _paths(selection)
    return _to_csv(selection.records(), [*COLUMNS, *selection.columns])


def _to_csv(records: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    text = StringIO()
    # The default line end, CRLF, also makes the writer quote a lone carriage return in a path.
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _write_fiftyone(selection: Selection, root: Path | None) -> str:
    """Write a CSV whose paths are files, with what is cut from them beside: shares of the edges."""
    _refuse_columns(selection, _FIFTYONE_KEYS, "FiftyOne's CSV")
    _paths(selection)
    records, size_of = [], cache(_size)
    for record in selection.records():
        name, box = _of_box(record["filepath"])
        if ImageRef(name).is_part:
            raise ValueError(f"FiftyOne opens files, and {name!r} is none: copy the images first.")
        found: dict[str, Any] = {"filepath": name}
        if box is not None:
            place = _shares(box, *size_of(name))
            found |= {"part": str(box), "bounding_box": json.dumps(place)}
        records.append(record | found)
    return _to_csv(records, [*COLUMNS, *_FIFTYONE_KEYS, *selection.columns])


def _read_csv(text: str, root: Path | None) -> Selection:
    reader = csv.DictReader(StringIO(text, newline=""))
    header = reader.fieldnames or ()
    table = list(reader)
    if "filepath" not in header:
        raise ValueError("no column filepath")
    paths = _absolute([line["filepath"] for line in table], root)
    known: tuple[str, ...] = COLUMNS
    if set(_FIFTYONE_KEYS) <= set(header):
        parts = zip(paths, table, strict=True)
        paths = [ImageRef(p).part(line["part"]) if line["part"] else p for p, line in parts]
        known += _FIFTYONE_KEYS
    return Selection(
        paths,
        np.array([int(line["index"]) for line in table]) if "index" in header else None,
        **_known_numbers(table),
        columns={name: [line[name] for line in table] for name in header if name not in known},
    )


def _write_txt(selection: Selection, root: Path | None) -> str:
    paths = _paths(selection)
    for path in paths:
        if len(path.splitlines()) != 1 or path.startswith("\ufeff"):
            raise ValueError(
                f"The path {path!r} is empty, has a line break or begins with a byte-order mark, "
                "which a list of one path a line cannot hold. Write a .csv or a .json."
            )
    return "".join(f"{path}\n" for path in paths)


def _read_txt(text: str, root: Path | None) -> Selection:
    lines = StringIO(text, newline=None).read().split("\n")
    return Selection(_absolute([line for line in lines if line], root))


def _write_json(selection: Selection, root: Path | None) -> str:
    return _dump(
        {
            "format": PAGE_FORMAT,
            "version": 1,
            "indices": selection.rows,
            "paths": selection.paths,
            "picks": selection.records(),
            "made": selection.settings,
        }
    )


def _read_json(contents: Any, root: Path | None) -> Selection:
    if contents["format"] != PAGE_FORMAT or contents["version"] != 1:
        raise ValueError(f"format {contents['format']!r}, version {contents['version']!r}")
    picks = contents.get("picks", [])  # the page of a map writes none
    paths = contents["paths"]
    return Selection(
        None if paths is None else _absolute(paths, root),
        contents["indices"],
        **_known_numbers(picks),
        columns=_columns(picks, COLUMNS),
        settings=contents.get("made", {}),
    )


def _write_coco(selection: Selection, root: Path | None) -> str:
    _refuse_columns(selection, _COCO_KEYS, "COCO")
    # A picture may have several boxes, and stands once; without boxes it has its pick's number.
    images: dict[Any, dict[str, Any]] = {}
    annotations: list[dict[str, Any]] = []
    categories: dict[str, int] = {}
    _paths(selection)
    for record in selection.records():
        picture, box = _of_box(record["filepath"])
        details = {key: record[key] for key in ("rank", *selection.columns)}
        key = picture if box is not None else record["rank"]
        if key not in images:
            name = _relative(picture, root)
            width, height = _size(picture)
            # Readers of COCO look for a license of each image.
            image = {"id": record["rank"], "file_name": name, "width": width, "height": height}
            images[key] = image | {"license": 0} | (details if box is None else {})
        if box is not None:
            image = images[key]
            (left, upper, right, lower), _ = box.pixels(image["width"], image["height"])
            place = [left, upper, right - left, lower - upper]
            kind = categories.setdefault(str(details.get("label") or _OBJECT), len(categories) + 1)
            annotations.append(
                {"id": record["rank"], "image_id": image["id"], "category_id": kind}
                | {"bbox": place, "area": place[2] * place[3], "iscrowd": 0, "segmentation": []}
                | {"part": str(box), "attributes": details}
            )
    return _dump(
        {
            "info": {"description": _COCO, **selection.settings},
            "licenses": [{"id": 0, "name": "", "url": ""}],
            "images": [*images.values()],
            "annotations": annotations,
            "categories": [
                {"id": number, "name": name, "supercategory": ""}
                for name, number in categories.items()
            ],
        }
    )


def _of_box(address: str) -> tuple[str, Fragment | None]:
    """Split an address before its box; what else its fragment says stays with the picture."""
    ref = ImageRef(address)
    fragment = ref.fragment
    if fragment is None or fragment.box is None:
        return address, None
    whole = str(replace(fragment, box=None, is_percent=False))
    return ref.file + (f"#{whole}" if whole else ""), fragment.only_box


def _read_coco(contents: Any, root: Path | None) -> Selection:
    info = contents.get("info", {})
    images = contents["images"]
    paths = _absolute([image["file_name"] for image in images], root)
    by_id = {image["id"]: path for image, path in zip(images, paths, strict=True)}
    boxes = [a for a in contents.get("annotations", []) if "part" in a]
    # Beside boxes, a picture that was picked as a whole has a rank, which is its id too.
    picks = [(i, by_id[i["id"]]) for i in images if not boxes or "rank" in i]
    picks += [(box, ImageRef(by_id[box["image_id"]]).part(box["part"])) for box in boxes]
    if boxes:
        picks.sort(key=lambda pick: pick[0]["id"])
    records = [pick.get("attributes", pick) for pick, _ in picks]
    return Selection(
        [path for _, path in picks],
        columns=_columns(records, (*_COCO_KEYS, *COLUMNS)),
        settings={key: value for key, value in info.items() if key != "description"},
    )


def _write_label_studio(selection: Selection, root: Path | None) -> str:
    if root is None and not all(map(_is_served, _paths(selection))):
        raise ValueError(
            "Label Studio finds images relative to its LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT: "
            "give that folder as root."
        )
    _refuse_columns(selection, ("image", "part"), "Label Studio")
    _paths(selection)
    tasks, size_of = [], cache(_size)  # a picture may have many boxes
    for record in selection.records():
        picture, box = _of_box(record["filepath"])
        served = _is_served(picture)
        if ImageRef(picture).is_part or (ImageRef(picture).is_url and not served):
            raise ValueError(
                "Label Studio's local storage holds files, and it shows https and s3 URLs, but not "
                f"{picture!r}: copy the images, and write the tasks of the copies."
            )
        image = picture if served else to_local_storage(_relative(picture, root))
        details = {key: record[key] for key in (*_TASK_KEYS, *selection.columns)}
        task: dict[str, Any] = {"data": {**details, "image": image}}
        if box is not None:
            task["data"]["part"] = str(box)
            task["predictions"] = [_prediction(record, box, *size_of(picture))]
        tasks.append(task)
    return _dump(tasks)


def _is_served(path: str) -> bool:
    return path.startswith(("http://", "https://", "s3://", "gs://"))


def _prediction(
    record: Mapping[str, Any], box: Fragment, width: int, height: int
) -> dict[str, Any]:
    """Return a box as Label Studio shows it before anyone has labelled: in percent."""
    edges = (100 * share for share in _shares(box, width, height))
    place = {**dict(zip(("x", "y", "width", "height"), edges, strict=True)), "rotation": 0}
    result = {
        "id": f"box{record['rank']}",
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "value": {**place, "rectanglelabels": [str(record.get("label") or _OBJECT)]},
    }
    confidence = record.get("confidence")
    score = {} if confidence in (None, "") else {"score": float(confidence)}
    return {"model_version": "boxes", **score, "result": [result]}


def _shares(box: Fragment, width: int, height: int) -> list[float]:
    """Return left, upper edge, width and height in shares of the picture's."""
    (left, upper, right, lower), _ = box.pixels(width, height)
    return [left / width, upper / height, (right - left) / width, (lower - upper) / height]


def _read_label_studio(tasks: Any, root: Path | None) -> Selection:
    # Not the row numbers: tasks of several lists are put together in a project.
    data = [task["data"] for task in tasks]
    paths = _absolute([_task_path(details["image"]) for details in data], root)
    return Selection(
        [
            ImageRef(path).part(details["part"]) if "part" in details else path
            for path, details in zip(paths, data, strict=True)
        ],
        **_known_numbers(data),
        columns=_columns(data, ("image", "part", *COLUMNS)),
    )


def _task_path(url: str) -> str:
    if _is_served(url):
        return url
    path = from_local_storage(url)
    if path is None:
        raise ValueError(f"a task whose image is {url!r}, not in local storage")
    return path


FORMATS = {
    "csv": SelectionFormat(_write_csv, _read_csv, ".csv", sidecar=True),
    "txt": SelectionFormat(_write_txt, _read_txt, ".txt", sidecar=True),
    "json": SelectionFormat(_write_json, _read_json, ".json", sidecar=False),
    "coco": SelectionFormat(_write_coco, _read_coco, ".json", sidecar=False),
    "fiftyone": SelectionFormat(_write_fiftyone, _read_csv, ".csv", sidecar=True),
    "label-studio": SelectionFormat(_write_label_studio, _read_label_studio, ".json", sidecar=True),
}


def _dump(contents: Any) -> str:
    return json.dumps(contents, indent=1, default=to_json) + "\n"


def _paths(selection: Selection) -> list[str]:
    if selection.paths is None:
        raise ValueError("The selection holds row numbers only, no paths: only a .json can.")
    return selection.paths


def _relative(path: str, root: Path | None) -> str:
    """Return a path relative to the root, with forward slashes."""
    ref = ImageRef(path)
    if root is None or ref.is_url:
        return path.replace(os.sep, "/")
    base = os.path.abspath(root)  # noqa: PTH100 - keeps links
    if os.path.commonpath([ref.absolute, base]) != base:
        raise ValueError(f"{path!r} is not inside root={str(root)!r}.")
    return os.path.relpath(ref.absolute, base).replace(os.sep, "/")


def _refuse_columns(selection: Selection, taken: Sequence[str], what: str) -> None:
    for name in selection.columns:
        if name in taken:
            raise ValueError(f"{what} keeps something else as {name!r}: rename that column.")


def _absolute(names: list[str], root: Path | None) -> list[str]:
    # Names stay str: paths that are no valid text must survive.
    return names if root is None else [ImageRef(name).below(str(root)) for name in names]


def _size(path: str) -> tuple[int, int]:
    try:
        return image_size(path)
    except ImageDecodeError as error:
        raise ValueError(
            f"Boxes and COCO need each image's size, and {path!r} cannot be opened: {error.reason}"
        ) from error


def _known_numbers(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return scores, clusters and distances; None where one is missing, or is no number."""
    fields = {"scores": "score", "clusters": "cluster", "distances": "distance_to_selected"}
    found: dict[str, Any] = {}
    for field, name in fields.items():
        cells = [record.get(name) for record in records]
        try:
            values = np.array([np.nan if cell in (None, "") else float(cell) for cell in cells])
        except (TypeError, ValueError):
            values = np.empty(0)
        found[field] = None if np.isnan(values).all() else values
    clusters = found["clusters"]
    if clusters is not None and np.isfinite(clusters).all():
        found["clusters"] = clusters.astype(np.intp)
    return found


def _columns(records: Sequence[Mapping[str, Any]], known: Sequence[str]) -> dict[str, list[Any]]:
    names = [name for name in (records[0] if records else ()) if name not in known]
    return {name: [record.get(name) for record in records] for name in names}
