"""The images of a selection, gathered in one folder."""

import errno
import filecmp
import io
import itertools
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path, PurePath
from typing import Any

from ...images import ImageDecodeError, ImageRef, image_size, load_image
from ...images.sources import is_missing
from ...utils import atomic_write, temporary_beside

__all__ = ["copy_images", "write_yolo"]


def copy_images(
    filepaths: Iterable[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    *,
    mode: str = "copy",
    whole: bool = False,
) -> list[str]:
    """Copy or link images into a folder, where no two get the same name and none is replaced.

    Parameters
    ----------
    filepaths : iterable of path-like
        The images; URLs are fetched.
    folder : path-like
        Where they go; made if it does not exist.
    mode : {"copy", "symlink", "hardlink"}, default="copy"
        Copies with their times, symbolic links to the absolute path, or hard links, which need
        the folder to be on the same disk.
    whole : bool, default=False
        Of images that are parts of files (boxes, pages, frames), whether the files are gathered,
        each once. Otherwise a part is written as a ``.png`` of its own.

    Returns
    -------
    list of str
        The new paths, in the order of `filepaths`. Each has its image's name, or that with
        ``-2``, ``-3``, ... where another image has the name already. One that is there already
        stays and is not made again.

    Raises
    ------
    TypeError
        For a single path.
    ValueError
        For another mode, a link to a URL, or a link to a part.
    ImageDecodeError
        If a part cannot be decoded.
    OSError
        If an image is missing, or the folder cannot be written to. A copy is complete or not
        there.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path, PurePath
    >>> from dinov2_sklearn.selection import copy_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("monday", "tuesday"):
    ...         (Path(folder) / name).mkdir()
    ...         _ = (Path(folder) / name / "bird.jpg").write_text(name)
    ...     birds = sorted(Path(folder).glob("*/bird.jpg"))
    ...     [Path(path).name for path in copy_images(birds, Path(folder) / "picks")]
    ['bird.jpg', 'bird-2.jpg']
    """
    if isinstance(filepaths, (str, bytes, os.PathLike)):
        raise TypeError(f"filepaths must hold several paths, got the single path {filepaths!r}.")
    if mode not in _MODES:
        raise ValueError(f"mode must be one of {', '.join(map(repr, _MODES))}, got {mode!r}.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    targets: dict[str, Path] = {}
    given: list[str] = []
    for filepath in map(os.fsdecode, filepaths):
        if whole:
            filepath = ImageRef(filepath).file
        if filepath not in targets:
            made = set(targets.values())
            targets[filepath] = _place(filepath, folder, made.__contains__, mode)
        given.append(str(targets[filepath]))
    return given


def _place(source: str, folder: Path, is_taken: Callable[[Path], bool], mode: str) -> Path:
    name = ImageRef(source)
    stem, suffix = name.stem, PurePath(name.name).suffix
    if name.is_part:
        stem, suffix = f"{stem}-{re.sub('[^0-9a-z.]+', '-', str(name.fragment).lower())}", ".png"
    for number in itertools.count(1):
        count = "" if number == 1 else f"-{number}"
        target = folder / f"{stem}{count}{suffix}"
        if is_taken(target):
            continue
        try:
            _MODES[mode](source, target)
        except FileExistsError:
            if not _is_there(source, target, mode):
                continue
        return target
    raise AssertionError  # numbers do not end


def _is_there(source: str, target: Path, mode: str) -> bool:
    """Tell whether what is there already is what would be made."""
    if not target.is_file() or target.is_symlink() != (mode == "symlink"):
        return False
    if ImageRef(source).is_part:
        return _crop(source) == target.read_bytes()
    if ImageRef(source).is_url:
        with ImageRef(source).open() as file:
            return file.read() == target.read_bytes()
    if mode == "copy" and target.samefile(source):
        return False
    return filecmp.cmp(source, target, shallow=False)


def _copy(source: str, target: Path) -> None:
    temporary = temporary_beside(target)
    try:
        if ImageRef(source).is_part:
            temporary.write_bytes(_crop(source))
        elif ImageRef(source).is_url:
            with ImageRef(source).open() as file, temporary.open("xb") as copy:
                shutil.copyfileobj(file, copy)
        else:
            shutil.copy2(source, temporary)
        # Unlike a renamed file, a link never takes the place of another.
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError as error:
        if ImageRef(source).is_url:
            raise OSError(f"{source!r} cannot be copied: {error}") from error
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise OSError(error.errno, error.strerror, source) from None
        with target.open("xb"):  # a disk without links: keep the name, then fill it
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _crop(source: str) -> bytes:
    """Return a part as a file of its own."""
    content = io.BytesIO()
    load_image(source).save(content, "PNG")
    return content.getvalue()


def _symlink(source: str, target: Path) -> None:
    _refuse_url(source)
    Path(source).stat()  # a link to nothing would be made without a word
    target.symlink_to(os.path.abspath(source))  # noqa: PTH100 - keeps links


def _hardlink(source: str, target: Path) -> None:
    _refuse_url(source)
    target.hardlink_to(os.path.realpath(source))


def _refuse_url(source: str) -> None:
    if ImageRef(source).is_part:
        raise ValueError(f"No link can lead to {source!r}, a part: copy it, or link whole files.")
    if ImageRef(source).is_url:
        raise ValueError(f"No link can lead to the URL {source!r}; copy the images instead.")


_MODES = {"copy": _copy, "symlink": _symlink, "hardlink": _hardlink}


def write_yolo(
    folder: str | os.PathLike[str],
    boxes: Iterable[str],
    labels: Sequence[Any] | None = None,
) -> None:
    r"""Write boxes as YOLO reads them, with the pictures that they lie in.

    Parameters
    ----------
    folder : path-like
        Where ``images``, ``labels`` and ``data.yaml`` go; made if it does not exist. What it holds
        already stays, but for the labels of pictures that are written again.
    boxes : iterable of str
        Addresses of boxes, such as ``photo.jpg#xywh=160,120,320,240``.
    labels : sequence of length n_boxes, default=None
        The class of each, such as ``list_boxes(...).columns["label"]``. None makes all one class,
        ``object``, which is that of a box without a label, too.

    Raises
    ------
    ValueError
        If an image is no box, a picture is no file but a page or a frame of one, or there are not
        as many labels.
    ImageDecodeError
        If a picture cannot be read, or a box lies outside it.

    See Also
    --------
    list_boxes : Reads it back.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from dinov2_sklearn.selection import write_yolo
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("RGB", (80, 40)).save(Path(folder) / "a.png")
    ...     write_yolo(Path(folder) / "yolo", [f"{folder}/a.png#xywh=20,10,40,20"], ["wren"])
    ...     (Path(folder) / "yolo" / "labels" / "a.txt").read_text()
    '0 0.500000 0.500000 0.500000 0.500000\n'
    """
    folder, addresses = Path(folder), [*boxes]
    kinds = [None] * len(addresses) if labels is None else list(labels)
    kinds = ["object" if is_missing(kind) or kind == "" else str(kind) for kind in kinds]
    if len(kinds) != len(addresses):
        raise ValueError(f"There are {len(addresses)} boxes and {len(kinds)} labels.")
    lines: dict[str, list[str]] = {}
    size_of = cache(image_size)  # a picture may have many boxes
    listed = folder / "labels" / "classes.txt"  # the numbers of a class that is there stay
    before = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    names = list(dict.fromkeys([*before, *kinds]))
    for address, kind in zip(addresses, kinds, strict=True):
        ref = ImageRef(address)
        fragment = ref.fragment
        if fragment is None or fragment.box is None or fragment != fragment.only_box:
            raise ValueError(f"YOLO holds boxes in files of pictures, and {address!r} is none.")
        width, height = size_of(ref.file)
        try:
            (left, upper, right, lower), _ = fragment.pixels(width, height)
        except ValueError as error:
            raise ImageDecodeError(address, str(error)) from None
        centre = (left + right) / 2 / width, (upper + lower) / 2 / height
        size = (right - left) / width, (lower - upper) / height
        numbers = " ".join(f"{share:.6f}" for share in (*centre, *size))
        lines.setdefault(ref.file, []).append(f"{names.index(kind)} {numbers}\n")
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    # The labels are found by the picture's name without its extension.
    owners = {there.stem: there for there in (folder / "images").iterdir()}
    made: set[Path] = set()
    for picture, text in lines.items():
        copy = _place(
            picture,
            folder / "images",
            lambda target: target in made or owners.get(target.stem, target) != target,
            "copy",
        )
        made.add(copy)
        owners[copy.stem] = copy
        with atomic_write(folder / "labels" / f"{copy.stem}.txt") as file:
            file.write("".join(text).encode())
    classes = "".join(f"  {i}: {json.dumps(name)}\n" for i, name in enumerate(names))
    for name, content in {
        "data.yaml": f"path: .\ntrain: images\nval: images\nnames:\n{classes}",
        "labels/classes.txt": "".join(f"{name}\n" for name in names),
    }.items():
        with atomic_write(folder / name) as file:
            file.write(content.encode())
