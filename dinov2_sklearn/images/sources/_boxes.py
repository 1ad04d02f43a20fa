"""Boxes of detectors and annotators, as addresses of the crops."""

import json
import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from ...utils import warn
from .._fragments import Fragment
from .._references import ImageBytes, ImageDecodeError, ImageRef
from .._table import ImageTable
from ..decoding import image_extensions, image_size
from ._tables import as_columns, as_on_disk, check_column, is_frame, is_missing, read_table

__all__ = ["list_boxes"]

_EDGES = ("x", "y", "width", "height")
_LISTS = "COCO's images and annotations, or MegaDetector's images and detections"


class _Box(NamedTuple):
    """A box as it was found, and what is known of it."""

    image: str
    box: tuple[float, float, float, float]
    is_share: bool  # of the picture's edges, or pixels
    size: tuple[int, int] | None  # of the picture, where the file tells it
    details: dict[str, Any]


def list_boxes(
    source: Any,
    *,
    images: str | os.PathLike[str] | None = None,
    min_confidence: float = 0.2,
    padding: float = 0.0,
    square: bool = False,
    categories: str | Collection[str] | None = None,
    image_col: str = "image_path",
    storage_options: Mapping[str, Any] | None = None,
) -> ImageTable:
    """List the boxes of a detector or of annotations, as images of their own.

    Nothing is cut out: a box is the address of its picture and where in it it lies, such as
    ``photo.jpg#xywh=160,120,320,240``, which is decoded as that crop.

    Parameters
    ----------
    source : path-like, data frame or ImageTable
        - a ``.json`` of COCO: ``images`` and ``annotations``;
        - a ``.json`` of MegaDetector: ``images`` with ``detections``;
        - a folder of YOLO's ``.txt`` files, one for each picture of its name: a line a box, class,
          centre and lengths as shares, and a confidence if there is one; or class and outline,
          around which the box is put. ``classes.txt`` or ``data.yaml`` names the classes. The
          pictures lie beside them, or in ``images`` where they lie in ``labels``;
        - a ``.csv``, or a data frame, with the columns ``x``, ``y``, ``width`` and ``height`` in
          pixels; a column ``confidence`` and any other come along.
    images : path-like, default=None
        Folder that the pictures' names count from; with a folder of YOLO's, that of the pictures.
        None is the source's own folder.
    min_confidence : float, default=0.2
        Boxes of less are left out; those that have no confidence are not.
    padding : float, default=0.0
        Share of a box's width and height that is added on each side.
    square : bool, default=False
        Whether the shorter edge is lengthened to the longer, as far as the picture reaches. Where
        nothing tells a picture's size, its header is read.
    categories : str or collection of str, default=None
        Only boxes of these.
    image_col : str, default="image_path"
        The column of paths in a table.
    storage_options : dict, default=None
        What fsspec's file systems are given to open pictures that are URLs, for their sizes.

    Returns
    -------
    ImageTable
        In the order of the source. Its columns: ``label`` and ``confidence`` where they are known,
        ``picture``, the address that each box is cut from, and those of a table.

    Raises
    ------
    FileNotFoundError
        If the source does not exist.
    ValueError
        If it is of no such kind, or no box is left.

    Warns
    -----
    UserWarning
        Of boxes that leave their pictures: they are clipped, and those wholly outside or of no area
        left out. Of annotations without a box, and of pictures in which the detector failed.
        Where nothing tells a picture's size, this is found out when it is decoded.

    See Also
    --------
    DINOv2Transformer : Embeds them; each picture is decoded once for its boxes.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from dinov2_sklearn import list_boxes
    >>> detections = '''{"detection_categories": {"1": "animal"}, "images": [
    ...     {"file": "a.jpg", "detections": [
    ...         {"category": "1", "conf": 0.9, "bbox": [0.25, 0.5, 0.5, 0.25]}]}]}'''
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "detections.json")
    ...     _ = file.write_text(detections)
    ...     boxes = list_boxes(file)
    >>> Path(boxes[0]).name, boxes.columns["label"][0]
    ('a.jpg#xywh=percent:25,50,50,25', 'animal')
    """
    if not 0 <= padding < math.inf:
        raise ValueError(f"padding must be finite, and 0 or more, got {padding!r}.")
    if math.isnan(min_confidence):
        raise ValueError(f"min_confidence must be a number, got {min_confidence!r}.")
    found = list(_read(source, image_col, images))
    if categories is not None:
        categories = [categories] if isinstance(categories, str) else list(categories)
        known = {box.details.get("label") for box in found}
        unknown = [category for category in categories if category not in known]
        if unknown:
            named = sorted(repr(label) for label in known if not is_missing(label))
            raise ValueError(
                f"categories has {unknown[0]!r}; the boxes' are {', '.join(named) or 'none'}."
            )
    root = _root(source, images)
    found_as = cache(as_on_disk)
    size_of = cache(partial(_size, storage_options=storage_options))
    paths, chosen = [], []
    n_clipped = n_outside = n_empty = 0
    for box in found:
        if categories is not None and box.details.get("label") not in categories:
            continue
        if _confidence(box) < min_confidence:
            continue
        picture = ImageRef(box.image).below(root) if root else box.image
        picture = found_as(picture) or picture  # where it is missing, decoding reports it
        size = box.size
        if square and size is None:
            size = size_of(picture)
        if box.box[2] <= 0 or box.box[3] <= 0:
            n_empty += 1
            continue
        placed = _place(box, size, padding, square)
        if placed is None:
            n_outside += 1
            continue
        fragment, is_clipped = placed
        n_clipped += is_clipped
        paths.append(ImageRef(picture).part(fragment))
        chosen.append(box.details | {"picture": picture})
    if n_clipped or n_outside or n_empty:
        warn(
            f"{n_clipped} of {len(found)} boxes leave their pictures and are clipped; {n_outside} "
            f"lie outside and {n_empty} have no area: they are left out."
        )
    if not paths:
        raise ValueError(
            f"No boxes: {len(found)} in all, and none with min_confidence={min_confidence!r} and "
            f"categories={categories!r} that lies in its picture."
        )
    return ImageTable(paths, as_columns(chosen))


def _confidence(box: _Box) -> float:
    """Return how sure the detector was, infinity where nothing says it."""
    value: Any = box.details.get("confidence")
    try:
        return math.inf if is_missing(value) or value == "" else float(value)
    except (TypeError, ValueError):
        raise ValueError(
            f"A box of {box.image!r} has the confidence {value!r}, which is no number."
        ) from None


def _read(source: Any, image_col: str, images: str | os.PathLike[str] | None) -> Iterator[_Box]:
    if isinstance(source, ImageTable) or is_frame(source):
        table: Any = source
        if isinstance(source, ImageTable):
            table = {image_col: source.paths, **source.columns}
        names = list(getattr(table, "columns", table))
        return _from_columns({name: list(table[name]) for name in names}, image_col, "The table")
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            "list_boxes takes a .json of COCO or MegaDetector, a folder of YOLO's .txt files, a "
            f".csv, a data frame or an ImageTable, got an object of type {type(source).__name__}."
        )
    path = Path(source).expanduser()
    if path.is_dir():
        return _from_yolo(path, None if images is None else Path(images).expanduser())
    if not path.is_file():
        raise FileNotFoundError(f"There are no boxes at {str(path)!r}.")
    if path.suffix.lower() == ".json":
        return _from_json(path)
    if path.suffix.lower() in (".csv", ".tsv"):
        paths, others = read_table(str(path), image_col, below=False)
        return _from_columns({image_col: paths, **others}, image_col, repr(str(path)))
    raise ValueError(
        f"{str(path)!r} holds no boxes: give a .json of COCO or MegaDetector, a folder of YOLO's "
        f".txt files, or a .csv with the columns {', '.join(_EDGES)}."
    )


def _root(source: Any, images: str | os.PathLike[str] | None) -> str:
    """Return the folder that the names of pictures count from."""
    path = Path(source).expanduser() if isinstance(source, (str, os.PathLike)) else None
    if path is not None and path.is_dir():  # YOLO's names are found where they are
        return ""
    if images is not None:
        return os.fspath(images)
    return "" if path is None else os.path.dirname(path)  # noqa: PTH120 - no "./" before names


def _from_json(path: Path) -> Iterator[_Box]:
    try:
        contents = json.loads(path.read_bytes())
        entries = contents["images"]
        read = _from_coco if "annotations" in contents else _from_megadetector
        if read is _from_megadetector and not all(
            isinstance(entry.get("detections", []), (list, type(None))) and "file" in entry
            for entry in entries
        ):
            raise KeyError("detections")
        yield from read(contents)
    except (AttributeError, KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{str(path)!r} holds no boxes ({type(error).__name__}: {error}): expected {_LISTS}."
        ) from error


def _from_coco(contents: Any) -> Iterator[_Box]:
    names = {entry["id"]: entry["name"] for entry in contents.get("categories") or []}
    images = {entry["id"]: entry for entry in contents["images"]}
    if len(images) < len(contents["images"]):
        raise ValueError("Two images of the COCO file have the same id.")
    n_without = 0
    for annotation in contents["annotations"]:
        entry = images.get(annotation["image_id"])
        if entry is None:
            raise ValueError(
                f"Annotation {annotation.get('id')!r} is of the image {annotation['image_id']!r}, "
                "which the COCO file does not list."
            )
        if not annotation.get("bbox"):
            n_without += 1
            continue
        number = annotation.get("category_id")
        details = {"label": names.get(number, None if number is None else str(number))}
        if "score" in annotation:
            details["confidence"] = annotation["score"]
        edges = entry.get("width"), entry.get("height")
        is_told = all(isinstance(edge, (int, float)) and edge > 0 for edge in edges)
        image = _name(entry["file_name"], f"The image {entry['id']!r}")
        box = _four(annotation["bbox"], image)
        yield _Box(image, box, False, edges if is_told else None, details)
    if n_without:
        of_all = f"{n_without} of {len(contents['annotations'])} annotations"
        warn(f"{of_all} have no box (bbox), and are left out.")


def _from_megadetector(contents: Any) -> Iterator[_Box]:
    names = contents.get("detection_categories") or {}
    failed = [entry for entry in contents["images"] if entry.get("failure")]
    if failed:
        warn(
            f"In {len(failed)} of {len(contents['images'])} pictures the detector failed: they "
            f"have no boxes. The first is {failed[0]['file']!r} ({failed[0]['failure']})."
        )
    for entry in contents["images"]:
        for detection in entry.get("detections") or []:  # null where an image failed
            label = names.get(str(detection["category"]), str(detection["category"]))
            details = {"label": label, "confidence": detection["conf"]}
            image = _name(entry["file"], "An image")
            yield _Box(image, _four(detection["bbox"], image), True, None, details)


def _from_yolo(folder: Path, images: Path | None) -> Iterator[_Box]:
    files = sorted(path for path in folder.rglob("*.txt") if path.name != "classes.txt")
    if not files:
        raise ValueError(f"{str(folder)!r} holds no boxes: YOLO has a .txt file for each picture.")
    names = _yolo_names(folder)
    for path in files:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        picture = _picture_of(path, folder, images) if any(map(str.strip, lines)) else ""
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                kind, *values = map(float, line.split())
                if kind < 0 or not kind.is_integer():
                    raise ValueError
                *edges, confidence = _yolo_box(values)
                box = _four(edges, picture)
            except ValueError:
                raise ValueError(
                    f"Line {number} of {str(path)!r} is no box of YOLO, class, centre and lengths: "
                    f"{line[:60]!r}."
                ) from None
            details: dict[str, Any] = {"label": str(names.get(int(kind), int(kind)))}
            if confidence is not None:
                details["confidence"] = confidence
            yield _Box(picture, box, True, None, details)


def _yolo_names(folder: Path) -> dict[int, Any]:
    """Return the classes by their numbers, as a file in the folder or above says them."""
    places = [folder, folder.parent]
    if "labels" in (folder.name, folder.parent.name):  # such as train/labels or labels/train
        places.append(folder.parent.parent)
    for place in places:
        listed, described = place / "classes.txt", place / "data.yaml"
        if listed.is_file():
            return dict(enumerate(listed.read_text(encoding="utf-8-sig").splitlines()))
        if described.is_file():
            import yaml

            try:
                names = (yaml.safe_load(described.read_bytes()) or {}).get("names", {})
                return dict(names if isinstance(names, dict) else enumerate(names))
            except (AttributeError, TypeError, ValueError, yaml.YAMLError) as error:
                raise ValueError(
                    f"{str(described)!r} does not say the names of classes ({error})."
                ) from error
    return {}


def _yolo_box(values: list[float]) -> tuple[float | None, ...]:
    """Return left, upper edge, width, height and confidence; of an outline, the box around it."""
    if len(values) in (4, 5):
        x, y, width, height, *confidence = values
        return x - width / 2, y - height / 2, width, height, *(confidence or (None,))
    if len(values) < 6 or len(values) % 2:
        raise ValueError
    xs, ys = values[::2], values[1::2]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys), None


def _picture_of(path: Path, folder: Path, images: Path | None) -> str:
    name = path.with_suffix("")
    places = [name if images is None else images / name.relative_to(folder)]
    folders = name.parent.parts
    if images is None and "labels" in folders:
        last = len(folders) - 1 - folders[::-1].index("labels")
        places.append(Path(*folders[:last], "images", *folders[last + 1 :], name.name))
    for place in places:
        for extension in sorted(image_extensions()):
            for case in (extension, extension.upper()):
                if place.with_name(place.name + case).is_file():
                    return str(place.with_name(place.name + case))
    where = "neither beside it nor in images for labels. Give the folder of pictures as images"
    if images is not None:
        where = f"which would be {str(places[0])!r} with an image's extension"
    raise FileNotFoundError(f"There is no picture for {str(path)!r}, {where}.")


def _from_columns(
    columns: Mapping[str, Sequence[Any]], image_col: str, what: str
) -> Iterator[_Box]:
    for name in (image_col, *_EDGES):
        check_column(name, list(columns), what, "Boxes are x, y, width and height in pixels.")
    others = [name for name in columns if name not in (image_col, *_EDGES)]
    for row, image in enumerate(columns[image_col]):
        picture = _name(image, f"Row {row}")
        box = _four([columns[name][row] for name in _EDGES], picture)
        details = {name: columns[name][row] for name in others}
        yield _Box(picture, box, False, None, details)


def _name(value: Any, what: str) -> str:
    if not isinstance(value, (str, os.PathLike)):
        raise ValueError(f"{what} of the boxes names no picture, but {value!r}.")
    return os.fspath(value)


def _four(values: Any, picture: str) -> tuple[float, float, float, float]:
    try:
        x, y, width, height = map(float, values)
        if not all(map(math.isfinite, (x, y, width, height))):
            raise ValueError
    except (TypeError, ValueError):
        raise ValueError(
            f"{values!r} is no box in {picture!r}: it has four numbers, x, y, width, height."
        ) from None
    return x, y, width, height


def _size(picture: str, storage_options: Mapping[str, Any] | None) -> tuple[int, int] | None:
    try:
        if not ImageRef(picture).is_url:
            return image_size(picture)
        read = ImageRef(picture).read(storage_options)
        return image_size(read) if isinstance(read, ImageBytes) else None
    except ImageDecodeError:  # decoding reports it
        return None


def _place(
    box: _Box, size: tuple[int, int] | None, padding: float, square: bool
) -> tuple[Fragment, bool] | None:
    """Return where in its picture a box lies, padded and clipped; None where it lies outside."""
    x, y, width, height = box.box
    in_percent = box.is_share and size is None
    ends: tuple[float, float] | None = (1.0, 1.0) if in_percent else size
    if box.is_share and size is not None:
        x, y, width, height = x * size[0], y * size[1], width * size[0], height * size[1]
    is_clipped = ends is not None and (
        min(x, y) < -1e-4 or x + width > ends[0] * 1.0001 or y + height > ends[1] * 1.0001
    )
    if ends is not None and (min(x + width, y + height) <= 0 or x >= ends[0] or y >= ends[1]):
        return None
    x, y = x - padding * width, y - padding * height
    width, height = width * (1 + 2 * padding), height * (1 + 2 * padding)
    if square and not in_percent:
        edge = max(width, height)
        x, y = x + (width - edge) / 2, y + (height - edge) / 2
        if ends is not None:  # moved, so that as much as can be lies inside
            x = min(max(x, 0), max(ends[0] - edge, 0))
            y = min(max(y, 0), max(ends[1] - edge, 0))
        width = height = edge
    right, lower = x + width, y + height
    if ends is not None:
        x, y, right, lower = max(x, 0), max(y, 0), min(right, ends[0]), min(lower, ends[1])
    scale = 100 if in_percent else 1
    edges = (x * scale, y * scale, (right - x) * scale, (lower - y) * scale)
    return Fragment(edges, in_percent), is_clipped
