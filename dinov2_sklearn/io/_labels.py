"""Labels in files: written by people, by the page of a map and by labelling tools."""

import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..images import Fragment, ImageRef, find_rows
from ..utils import atomic_write, encode_labels, from_local_storage, warn

__all__ = ["load_labels", "save_labels"]

# A file's column of paths: ours, those of `write_selection` and `list_images`, COCO's.
_PATHS = ("path", "filepath", "image_path", "file_name", "image")
_LABELS = ("label", "choice")

PathType = str | os.PathLike[str]
Labels = Iterator[tuple[str, Any]]


def save_labels(path: PathType, paths: Iterable[PathType], y: ArrayLike) -> None:
    """Write labels into a file, for people, `load_labels` and the command line.

    Parameters
    ----------
    path : path-like
        The file to write: a ``.csv`` with the columns ``path`` and ``label``, or a ``.json``, which
        keeps whole numbers as such. An existing one is replaced.
    paths : iterable of path-like of length n_rows
        The images.
    y : array-like of shape (n_rows,)
        A label each: text or whole numbers; -1, None or NaN where there is none. Only images with
        a label are written.

    Raises
    ------
    ValueError
        If `y` has not one value a path, or the extension is another.
    TypeError
        If labels are of several kinds, such as text and numbers.

    See Also
    --------
    load_labels : Finds the labels of images as they are listed now.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from dinov2_sklearn import save_labels
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_labels(Path(folder) / "labels.csv", ["a.jpg", "b.jpg"], ["wren", None])
    ...     print((Path(folder) / "labels.csv").read_text())
    path,label
    a.jpg,wren
    """
    path = Path(path)
    names = _names(paths)
    classes, codes = encode_labels(y, len(names))
    labels = classes.tolist()
    records = [(name, labels[code]) for name, code in zip(names, codes, strict=True) if code >= 0]
    suffix = path.suffix.lower()
    if suffix == ".csv":
        table = StringIO()
        # The default line end, CRLF, also makes the writer quote a lone carriage return in a path.
        csv.writer(table).writerows([("path", "label"), *records])
        text = table.getvalue()
    elif suffix == ".json":
        text = json.dumps([{"path": name, "label": label} for name, label in records], indent=1)
    else:
        raise ValueError(f"{str(path)!r} has the extension {suffix!r}. Labels are a .csv or .json.")
    with atomic_write(path) as file:
        file.write(text.encode("utf-8", errors="surrogateescape"))


def load_labels(
    path: PathType, paths: Iterable[PathType], *, root: PathType | None = None
) -> NDArray[np.object_]:
    """Read labels, one a row, in the order of the images as they are listed now.

    Each image is looked up by its path, so that no label moves to another image where the list
    has grown or is in another order.

    Parameters
    ----------
    path : path-like
        One of:

        - a ``.csv`` with the columns ``path`` and ``label``, as `save_labels` and the page of a
          map write it. A selection of `write_selection` to which someone added a column ``label``
          will do, and so will Label Studio's CSV;
        - a ``.json`` of `save_labels`, or a mapping of paths to labels;
        - Label Studio's JSON or JSON-MIN, with one choice an image, or one label of its box;
        - a ``.json`` of COCO, whose annotations give an image, or a box that `write_selection`
          wrote, one category;
        - a folder with a folder a class, in which the images themselves lie.
    paths : iterable of path-like of length n_rows
        The images, such as ``list_images`` or ``load_embeddings(...).paths`` gives them.
    root : path-like, default=None
        Folder that relative paths in the file count from. None is the working directory or, where
        none of them is an image there, the folder of the file.

    Returns
    -------
    y : ndarray of object of shape (n_rows,)
        The labels, None where there is none. Those of a CSV are text. Empty labels, and -1, are
        none.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it holds no labels, none of its images is among `paths`, or an image has two labels.

    Warns
    -----
    UserWarning
        If some of the file's images are not among `paths`.

    See Also
    --------
    save_labels : Writes such files.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from dinov2_sklearn import load_labels, save_labels
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_labels(Path(folder) / "labels.csv", ["a.jpg", "b.jpg"], ["wren", "robin"])
    ...     load_labels(Path(folder) / "labels.csv", ["b.jpg", "new.jpg", "a.jpg"])
    array(['robin', None, 'wren'], dtype=object)
    """
    path, names = Path(path), _names(paths)
    is_folder = path.is_dir()
    labels = _of_folders(path, names) if is_folder else _look_up(path, _read(path), names, root)
    y = np.empty(len(names), dtype=object)
    for row, label in labels.items():
        y[row] = label
    return y


def _names(paths: Iterable[PathType]) -> list[str]:
    if isinstance(paths, (str, bytes, os.PathLike)):
        raise TypeError(f"paths must hold one path a row, got the single path {paths!r}.")
    return [os.fsdecode(path) for path in paths]


def _look_up(
    file: Path, labels: dict[str, Any], names: list[str], root: PathType | None
) -> dict[int, Any]:
    """Find the rows of the labels, of which an image has one at most."""
    listed, found = list(labels), []
    for folder in (os.fspath(root),) if root is not None else ("", str(file.parent)):
        found = find_rows([ImageRef(name).below(folder) for name in listed], names)
        if any(found):
            break
    if not all(found):
        addresses = [ImageRef(name).below(folder) for name in listed]
        found = find_rows(addresses, names, moved_in=repr(str(file)))
    missing = [name for name, rows in zip(listed, found, strict=True) if not rows]
    if len(missing) == len(listed):
        raise ValueError(
            f"None of the {len(listed)} images in {str(file)!r}, such as {listed[0]!r}, is among "
            f"paths, such as {names[0]!r}. Give root, the folder that its paths count from."
            if names
            else "paths is empty: there is no image to find a label of."
        )
    if missing:
        warn(
            f"{len(missing)} of the {len(listed)} images in {str(file)!r} are not among paths, the "
            f"first of them {missing[0]!r}: their labels are left out."
        )
    by_row: dict[int, tuple[str, Any]] = {}
    for (name, label), rows in zip(labels.items(), found, strict=True):
        for row in rows:
            other, before = by_row.setdefault(row, (name, label))
            _refuse_two(file, name if other == name else f"{other}, {name}", before, label)
    return {row: label for row, (_, label) in by_row.items()}


def _read(file: Path) -> dict[str, Any]:
    """Return the labels in a file by their paths."""
    readers = {".csv": _read_csv, ".json": _read_json}
    if file.suffix.lower() not in readers:
        raise ValueError(
            f"{str(file)!r} has the extension {file.suffix!r}. Labels are a .csv, a .json, or a "
            "folder with a folder a class."
        )
    if not file.exists():
        raise FileNotFoundError(f"There is no file of labels {str(file)!r}.")
    labels: dict[str, Any] = {}
    try:
        # A byte-order mark is how spreadsheets say UTF-8.
        text = file.read_bytes().decode("utf-8-sig", errors="surrogateescape")
        pairs = list(readers[file.suffix.lower()](text))
    except (AttributeError, csv.Error, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(
            f"{str(file)!r} holds no labels that can be read ({type(error).__name__}: {error})."
        ) from error
    for name, label in pairs:
        if isinstance(label, (list, dict)):
            raise ValueError(
                f"{str(file)!r} gives {name!r} the label {label!r}, which is no class."
            )
        if label is not None and label == label and label not in ("", "-1", -1):  # NaN is not NaN
            _refuse_two(file, name, labels.setdefault(name, label), label)
    if not labels:
        raise ValueError(f"{str(file)!r} has no labels: every label in it is empty.")
    return labels


def _refuse_two(file: Path, name: str, before: Any, label: Any) -> None:
    if before != label:
        raise ValueError(
            f"{str(file)!r} gives {name!r} two labels, {before!r} and {label!r}. Keep one."
        )


def _read_csv(text: str) -> Labels:
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.DictReader(StringIO(text, newline=""), delimiter=delimiter)
    header = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = header
    path, label = (_first_of(names, header) for names in (_PATHS, _LABELS))
    for line in reader:
        if None in line:
            raise ValueError(f"line {reader.line_num} has more fields than the header")
        name = _of_part(_address(line[path]), line.get("part"))
        yield name, line[label] and line[label].strip()


def _first_of(names: Sequence[str], header: Sequence[str]) -> str:
    for name in names:
        if name in header:
            return name
    raise ValueError(f"no {names[0]!r} among {', '.join(map(repr, header))}")


def _read_json(text: str) -> Labels:
    contents = json.loads(text, object_pairs_hook=_no_key_twice)
    if isinstance(contents, list):
        return (_read_record(record) for record in contents)
    return _read_coco(contents) if "annotations" in contents else iter(contents.items())


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    contents = dict(pairs)
    for key, value in pairs:
        if contents[key] != value:
            raise ValueError(f"{key!r} has two values, {value!r} and {contents[key]!r}")
    return contents


def _read_record(record: dict[str, Any]) -> tuple[str, Any]:
    """Read a path and a label, of `save_labels` or of a task of Label Studio."""
    if "data" not in record:
        label = next((record[name] for name in _LABELS if name in record), None)
        return _address(record[_first_of(_PATHS, list(record))]), label
    name = _address(record["data"][_first_of(_PATHS[::-1], list(record["data"]))])
    address = _of_part(name, record["data"].get("part"))
    values = [
        result["value"]
        for annotation in record.get("annotations", ())
        if not annotation.get("was_cancelled")
        for result in annotation["result"]
    ]
    choices = {choice for value in values for choice in value.get("choices", ())}
    if not choices and address != name:  # the box that was shown, under the label that it was left
        choices = {kind for value in values for kind in value.get("rectanglelabels", ())}
    name = address
    if len(choices) > 1:
        raise ValueError(f"{name!r} has {len(choices)} labels: {', '.join(sorted(choices))}")
    return name, next(iter(choices), None)


def _read_coco(contents: dict[str, Any]) -> Labels:
    files = {image["id"]: image["file_name"] for image in contents["images"]}
    classes = {category["id"]: category["name"] for category in contents["categories"]}
    for annotation in contents["annotations"]:
        name = _of_part(files[annotation["image_id"]], annotation.get("part"))
        yield name, classes[annotation["category_id"]]


def _of_part(name: str, part: Any) -> str:
    """Return the address of the part of an image that `write_selection` wrote a line about."""
    try:
        Fragment.parse(str(part))
    except ValueError:  # there is none, or the column is another one
        return name
    return ImageRef(name).part(part)


def _address(name: str) -> str:
    """Return where an image is; Label Studio serves files from its local storage."""
    path = from_local_storage(name)
    return name if path is None else path


def _of_folders(folder: Path, names: Sequence[str]) -> dict[int, str]:
    """Return the class of each row whose image lies in a folder of a class."""
    base = os.path.join(os.path.abspath(folder), "")  # noqa: PTH100, PTH118 - keeps links
    labels = {}
    for row, name in enumerate(names):
        label, separator, _ = ImageRef(name).absolute.removeprefix(base).partition(os.sep)
        if label and separator:
            labels[row] = label
    if not labels:
        raise ValueError(
            f"None of the {len(names)} paths lies in a folder of a class in {str(folder)!r}."
        )
    return labels
