"""Finding image files: folders, globs, tables, lists."""

# Names stay str: a Path for each of 100,000 files takes longer than scanning the disk.
# ruff: noqa: PTH100, PTH111, PTH112, PTH113, PTH118, PTH119, PTH120, PTH122, PTH208

import fnmatch
import glob
import math
import os
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from os import PathLike
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...utils import warn
from .._fragments import Fragment
from .._references import ImageDecodeError, ImagePart, ImageRef
from .._remote import Options
from .._table import ImageTable
from .._video import Video
from ..decoding import image_extensions, needs_extra, page_count
from ._tables import (
    FEW,
    Listed,
    as_columns,
    is_dataset,
    is_frame,
    is_listing,
    is_sibling,
    read_csv,
    read_frame,
    read_jsonl,
    read_listing,
    read_parquet,
    read_txt,
    sibling_details,
)
from ._walking import LEFT_BEHIND, above_glob, split_glob, walk, walk_glob, walk_url

__all__ = ["list_frames", "list_images", "list_rows"]

_TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
_LISTINGS = (*_TABLES, ".txt")
# Tar files are read as web data sets: what is called alike but for the extension is a row.
_TARS = (".tar", ".tar.gz", ".tgz")
# What lies beside images as a rule: nobody who sees none of it listed is surprised.
# fmt: off
_COMPANIONS = frozenset({
    ".csv", ".db", ".h5", ".html", ".ini", ".ipynb", ".json", ".jsonl", ".log", ".md", ".npy",
    ".npz", ".parquet", ".pt", ".py", ".rst", ".sqlite", ".toml", ".tsv", ".txt", ".xml", ".xmp",
    ".yaml", ".yml",
})
_VIDEOS = frozenset({
    ".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".webm", ".wmv",
})
# fmt: on
_LITTER = frozenset({"thumbs.db", "desktop.ini", "icon\r"})


class _Choice(NamedTuple):
    """Which of the files that are found are wanted."""

    pattern: str
    exclude: tuple[str, ...]
    recursive: bool
    image_col: str
    missing: str
    storage_options: Mapping[str, Any] | None


def list_images(
    source: Any,
    *,
    pattern: str = "*",
    exclude: str | Sequence[str] = (),
    recursive: bool = True,
    image_col: str = "image_path",
    missing: Literal["raise", "keep"] = "raise",
    pages: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> NDArray[np.object_]:
    r"""List the image files of a folder, a glob, a table or a list.

    Parameters
    ----------
    source : str, PathLike, DataFrame, Series, ndarray or sequence of paths
        Where to look:

        - a folder: its files with an image's extension (`IMAGE_EXTENSIONS`, in upper or lower
          case, and those of add-ons that are installed), in sub-folders too; sorted;
        - a glob such as ``"photos/**/cam1_*.jpg"``, ``**`` being any depth of folders: likewise;
        - a ``.csv`` or ``.tsv`` file, with a header and a column of paths; a relative path
          counts from the file's folder. Comma, semicolon, tab or ``|`` are told from the header;
        - a ``.jsonl`` file of a JSON object a line, or a ``.parquet`` file, likewise; where its
          column holds encoded images, as those of Hugging Face do, these are its rows:
          ``file.parquet#row=17&column=image``;
        - a ``.tar`` file, such as a shard of a web data set: the images in it; a ``.tar.gz`` or
          ``.tgz`` is unpacked once a process, in the folder for temporary files;
        - a ``.txt`` file of one path a line, relative to the file's folder; blank lines are
          skipped, and nothing else is;
        - a pandas or polars DataFrame with a column of paths;
        - a list, tuple, Series or 1-D array of paths, which are returned as they are;
        - an image file: that one;
        - a URL of a folder, a glob, a table or an image, such as ``"s3://bucket/photos/"`` or
          ``"zip://::photos.zip"``, of any kind that fsspec and its add-ons can read.
    pattern : str, default="*"
        Only files of a folder or a glob whose name matches, as in ``fnmatch`` but in upper or
        lower case. A pattern with a ``/`` is held against the path below the folder, where ``*``
        matches ``/`` too.
    exclude : str or sequence of str, default=()
        Files of a folder or a glob that are left out, by patterns alike: one without a ``/`` is
        held against the file's name and those of the folders it lies in.
    recursive : bool, default=True
        Whether the sub-folders of a folder are entered. In a glob, ``**`` says so.
    image_col : str, default="image_path"
        The column of paths in a table.
    missing : {"raise", "keep"}, default="raise"
        What becomes of a listed file that is not there: an error for all of them, or it stays
        listed, so that decoding reports it.
    pages : bool, default=False
        Whether each page of a file that has several (a TIFF stack, an animation, DICOM frames) is
        an image of its own: ``stack.tif#page=3``, counted from 1. All files are opened for that.
    storage_options : dict, default=None
        What fsspec's file systems are given to open URLs.

    Returns
    -------
    ndarray of shape (n_images,), dtype object
        Paths as str. Those of a folder or a glob are sorted, each once. Those of a table, a text
        file or a list keep their order and their duplicates, so that they stay aligned with
        labels. Names that are no valid text are decoded as ``os.fsdecode`` does.

    Raises
    ------
    FileNotFoundError
        If the source, or a path listed in it, does not exist.
    ValueError
        If no images are found, a column is missing, a path is missing from a table or list, the
        file is of an unknown type, or ``pattern`` is given where every row counts.
    TypeError
        If the source is none of the above, or a listed element is not a path.

    Warns
    -----
    UserWarning
        Of the files of a folder or a glob that are left out since they are no images, counted by
        extension; not where all of them are text or tables, as they lie beside images. Of folders
        that cannot be read.

    Notes
    -----
    Files and folders whose name begins with a dot are skipped, and so are folders that systems
    and storage boxes leave behind (``@eaDir``, ``#recycle``, ``$RECYCLE.BIN``, ``lost+found``,
    ``__MACOSX``). Links to folders are followed, and
    every folder is entered once, under its own path if it has one below the source: so circular
    links do no harm. A link to a missing file is listed, so that decoding reports it. Files are
    not opened: one directory scan a folder, or one look-up of existence for each listed path.

    Tables are in UTF-8, UTF-16 or, where they are no valid UTF-8, in Windows' cp1252. A listed
    name that is not there is looked for with its letters composed and decomposed (as ``é`` can be
    one character or two) and with ``\`` for ``/``.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from dinov2_sklearn import list_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("b.jpg", "a.PNG", "notes.md"):
    ...         Path(folder, name).touch()
    ...     paths = list_images(folder)
    >>> [Path(path).name for path in paths]
    ['a.PNG', 'b.jpg']
    """
    return list_rows(
        source,
        pattern=pattern,
        exclude=exclude,
        recursive=recursive,
        image_col=image_col,
        missing=missing,
        pages=pages,
        storage_options=storage_options,
    ).paths


def list_rows(
    source: Any,
    *,
    pattern: str = "*",
    exclude: str | Sequence[str] = (),
    recursive: bool = True,
    image_col: str = "image_path",
    missing: Literal["raise", "keep"] = "raise",
    pages: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> ImageTable:
    r"""List images as `list_images` does, with the other columns of a table.

    Parameters
    ----------
    source, pattern, exclude, recursive, image_col, missing, pages, storage_options
        As in `list_images`. The columns of a ``.tar`` are what its ``.json`` and ``.cls`` members
        say of the image beside them, and ``.txt`` members as the column ``txt``.

    Returns
    -------
    ImageTable
        The addresses, and the columns by their names; none of a folder.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        As `list_images`.

    See Also
    --------
    list_boxes : The boxes of a detector.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from dinov2_sklearn import list_rows
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "a.jpg").touch()
    ...     _ = Path(folder, "table.csv").write_text("image_path,camera\na.jpg,north\n")
    ...     list_rows(Path(folder, "table.csv")).columns["camera"]
    array(['north'], dtype=object)
    """
    if missing not in ("raise", "keep"):
        raise ValueError(f"missing must be 'raise' or 'keep', got {missing!r}.")
    excluded = (exclude,) if isinstance(exclude, str) else tuple(exclude)
    choice = _Choice(pattern, excluded, recursive, image_col, missing, storage_options)
    columns: Mapping[str, Any] = {}
    if isinstance(source, (str, bytes, PathLike)):
        paths, columns = _from_path(os.path.expanduser(os.fsdecode(source)), choice)
    else:
        _refuse_choice(choice, "a list or a data frame")
        if is_dataset(source):
            raise TypeError(
                "A data set of Hugging Face has no addresses. Embed its column as it is, "
                "transform(dataset['image']), or write it with dataset.to_parquet('images.parquet')"
                " and list that file."
            )
        if isinstance(source, ImageTable):
            paths, columns = read_listing(source.paths, missing=missing), source.columns
        elif is_frame(source):
            paths, columns = read_frame(source, image_col, missing)
        elif is_listing(source):
            paths = read_listing(source, missing=missing)
        else:
            raise TypeError(
                "list_images takes a folder, a glob, a .csv or .txt file, a data frame or a "
                f"sequence of paths, got an object of type {type(source).__name__}."
            )
    table = ImageTable(paths, columns)
    return _each_page(table) if pages else table


def _each_page(table: ImageTable) -> ImageTable:
    counts = []
    for path in table.paths:
        try:
            counts.append(1 if ImageRef(path).is_part else page_count(path))
        except ImageDecodeError:  # decoding reports it
            counts.append(1)
    repeated = table[np.repeat(np.arange(len(table)), counts)]
    numbers = [n for count in counts for n in (range(1, count + 1) if count > 1 else [None])]
    paths = [
        path if number is None else f"{path}#page={number}"
        for path, number in zip(repeated.paths, numbers, strict=True)
    ]
    return ImageTable(paths, repeated.columns)


def list_frames(
    video: str | PathLike[str], every: float = 1.0, *, storage_options: Options = None
) -> ImageTable:
    """List frames of a video at even distances in time, as images of their own.

    Nothing is cut out or decoded: a frame is the address ``clip.mp4#t=12.5``, which is decoded as
    what is shown at that time. Needs PyAV, the extra ``video``.

    Parameters
    ----------
    video : path-like
        A video file, a URL, which is fetched whole, or a folder, whose videos are taken in order.
    every : float, default=1.0
        Seconds from one frame to the next; the first is at 0.
    storage_options : dict, default=None
        What fsspec's file systems are given to open URLs.

    Returns
    -------
    ImageTable
        With the columns ``video`` and ``time``, in seconds.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImageDecodeError
        If it is no video.
    ValueError
        If `every` is not above 0, or a folder has no videos.
    ImportError
        If PyAV is not installed.

    Examples
    --------
    >>> from dinov2_sklearn import list_frames
    >>> list_frames("clip.mp4", every=0.5)  # doctest: +SKIP
    ImageTable(240 images, columns: video, time)
    """
    if not 0 < every < math.inf:
        raise ValueError(f"every must be above 0 seconds, got {every!r}.")
    video = os.path.expanduser(os.fsdecode(video))
    step = Fraction(str(every))
    videos = [video]
    if os.path.isdir(video):
        videos = sorted(p for p in walk(video, True, []) if ImageRef(p).extension in _VIDEOS)
        if not videos:
            raise ValueError(f"No videos in {video!r}: looked for {', '.join(sorted(_VIDEOS))}.")
    elif not ImageRef(video).is_url and not os.path.isfile(video):
        raise FileNotFoundError(_nothing_there(video))
    found = [
        (name, step * number)
        for name in videos
        for number in range(math.ceil(_duration(name, storage_options) / step))
    ]
    paths = [f"{name}#{Fragment(time=time)}" for name, time in found]
    return ImageTable(
        paths, {"video": [name for name, _ in found], "time": [float(time) for _, time in found]}
    )


def _duration(video: str, storage_options: Options) -> Fraction:
    part = ImageRef(f"{video}#t=0").read(storage_options)
    assert isinstance(part, ImagePart)
    assert isinstance(part.file.content, Video)
    try:
        return part.file.content.duration
    except ValueError as error:
        raise ImageDecodeError(video, str(error)) from error


def _from_path(path: str, choice: _Choice) -> Listed:
    ref = ImageRef(path)
    if ref.is_part:
        return read_listing([path], "the source", choice.missing), {}
    if ref.extension in _LISTINGS and (ref.is_url or os.path.isfile(path)):
        return _from_listing(path, ref.extension, choice)
    if path.lower().endswith(_TARS) and "::" not in path:
        return _from_tar(path, choice)
    return (_from_url if ref.is_url else _from_files)(path, choice), {}


def _from_files(path: str, choice: _Choice) -> list[str]:
    unreadable: list[str] = []
    if os.path.isdir(path):
        what = f"the folder {path!r}" + ("" if choice.recursive else " itself (recursive=False)")
        found = _select(path, walk(path, choice.recursive, unreadable), choice, what)
    elif os.path.isfile(path):
        return _from_file(path, choice)
    elif glob.has_magic(path):
        root, wanted = split_glob(path)
        if root and not os.path.isdir(root):
            raise FileNotFoundError(_nothing_there(root))
        found = _select(root, walk_glob(root, wanted, unreadable), choice, f"the glob {path!r}")
    else:
        raise FileNotFoundError(_nothing_there(path))
    if unreadable:
        shown = ", ".join(map(repr, unreadable[:FEW])) + (", ..." if unreadable[FEW:] else "")
        warn(f"{len(unreadable)} folders cannot be read, and what is in them is left out: {shown}")
    return found


def _from_file(path: str, choice: _Choice) -> list[str]:
    extension = os.path.splitext(path)[1].lower()
    if extension in image_extensions():
        return [path]
    if extension in _VIDEOS:
        raise ValueError(f"{path!r} is a video: list_frames, or --frames, lists its frames.")
    raise ValueError(
        f"{path!r} is a file of type {extension or '(no extension)'!r}. list_images reads "
        f"folders, globs, {', '.join(_TABLES)} and .txt files, and images "
        f"({', '.join(sorted(image_extensions()))}); those in an archive by a URL such as "
        f"'zip://::photos.zip'.{_installable({extension: 1})}"
    )


def _from_url(url: str, choice: _Choice) -> list[str]:
    name, extension = ImageRef(url).within, ImageRef(url).extension
    if url.startswith(("http://", "https://")) and extension in image_extensions():
        return [url]  # a signed address may allow nothing but to fetch it
    root = above_glob(name) if "*" in name else name
    try:
        files = walk_url(url, choice.recursive, choice.storage_options)
        return _select(root, files, choice, f"{url!r}")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise OSError(f"{url!r} cannot be read ({error}).") from error


def _from_listing(path: str, extension: str, choice: _Choice) -> Listed:
    _refuse_choice(choice, f"a {extension} file")
    with ImageRef(path).open(choice.storage_options) as file:
        if extension == ".parquet":
            return read_parquet(path, file, choice.image_col, choice.missing)
        raw = file.read()
    if extension == ".txt":
        return read_txt(path, raw, choice.missing), {}
    read = read_jsonl if extension == ".jsonl" else read_csv
    return read(path, raw, choice.image_col, choice.missing)


def _from_tar(path: str, choice: _Choice) -> Listed:
    """Return the images of a web data set's shard, and what their siblings say of them."""
    if not ImageRef(path).is_url and not os.path.isfile(path):
        raise FileNotFoundError(_nothing_there(path))
    try:
        with (
            ImageRef(path).open(choice.storage_options) as file,
            tarfile.open(fileobj=file) as archive,
        ):
            names, others = [], {}
            for member in filter(tarfile.TarInfo.isfile, archive):
                names.append(member.name)
                if is_sibling(member.name):
                    content = archive.extractfile(member)
                    others[member.name] = b"" if content is None else content.read()
    except tarfile.TarError as error:
        raise ValueError(f"{path!r} is no tar file, or a damaged one ({error}).") from error
    double = [name for name, count in Counter(names).items() if count > 1]
    if double:
        raise ValueError(
            f"{path!r} has {len(double)} names twice, the first {double[0]!r}: only the last of "
            "each could be found again."
        )
    names = [f"tar://{name}::{path}" for name in names if name not in others]
    images = _select("tar://", names, choice, repr(path))
    return images, as_columns([sibling_details(ImageRef(image), others) for image in images])


def _refuse_choice(choice: _Choice, what: str) -> None:
    given = {"pattern": choice.pattern != "*", "exclude": bool(choice.exclude)}
    for name in (name for name, is_given in given.items() if is_given):
        raise ValueError(
            f"{name}={getattr(choice, name)!r} applies to folders and globs. The source is {what}, "
            "where leaving out rows would lose the alignment with their labels: filter it "
            "beforehand."
        )


def _select(root: str, files: Iterable[str], choice: _Choice, what: str) -> list[str]:
    accepts, excludes = _name_filter(root, choice.pattern), _excluder(root, choice.exclude)
    extensions = image_extensions()
    chosen, others = [], Counter[str]()
    n_unwanted = 0
    for path in files:
        ref = ImageRef(path)
        name, extension = ref.within, ref.extension
        if excludes(name) or ref.name.lower() in _LITTER:
            continue
        if extension not in extensions:
            others[extension or "(no extension)"] += 1
        elif accepts(name):
            chosen.append(path)
        else:
            n_unwanted += 1
    if not chosen:
        found = [f"{count} {kind}" for kind, count in others.most_common(FEW)]
        if n_unwanted:
            found.append(f"{n_unwanted} images that pattern={choice.pattern!r} leaves out")
        raise ValueError(
            f"No images in {what}: looked for files that end in "
            f"{', '.join(sorted(extensions))}; found {', '.join(found) or 'no files at all'}."
            f"{_installable(others)}"
        )
    if others.keys() - _COMPANIONS:
        by_count = sorted(others.items(), key=lambda item: (-item[1], item[0]))
        counts = ", ".join(f"{count} {kind}" for kind, count in by_count)
        warn(
            f"{others.total()} files in {what} are no images that can be read here, and are left "
            f"out: {counts}.{_installable(others)}"
        )
    return sorted(chosen)


def _installable(others: Mapping[str, int]) -> str:
    hints = {kind: hint for kind in others if (hint := needs_extra(kind)) is not None}
    return "".join(f" For {kind}: {hint}." for kind, hint in sorted(hints.items()))


def _excluder(root: str, patterns: Sequence[str]) -> Callable[[str], bool]:
    """Tell what lies in a folder that a system leaves behind, or is to be left out."""
    matches = [
        re.compile(fnmatch.translate(p), re.IGNORECASE).match for p in patterns if "/" not in p
    ]
    deep = [_name_filter(root, pattern) for pattern in patterns if "/" in pattern]
    start = len(os.path.join(root, ""))

    def excludes(path: str) -> bool:
        parts = path[start:].replace(os.sep, "/").split("/")
        return (
            any(part.lower() in LEFT_BEHIND for part in parts[:-1])
            or any(match(part) for match in matches for part in parts)
            or any(accepts(path) for accepts in deep)
        )

    return excludes


def _name_filter(root: str, pattern: str) -> Callable[[str], object]:
    if pattern == "*":
        return lambda path: True
    match = re.compile(fnmatch.translate(pattern), re.IGNORECASE).match
    if "/" not in pattern:
        return lambda path: match(os.path.basename(path))
    start = len(os.path.join(root, ""))
    return lambda path: match(path[start:].replace(os.sep, "/"))


def _nothing_there(path: str) -> str:
    parent = os.path.abspath(path)
    while not os.path.isdir(parent):
        parent = os.path.dirname(parent)
    names = sorted(os.listdir(parent))
    shown = ", ".join(map(repr, names[:FEW])) + (", ..." if len(names) > FEW else "")
    return (
        f"There is no file, folder or glob match at {path!r}. The nearest folder that exists is "
        f"{parent!r}, with {len(names)} entries{': ' if names else ''}{shown}."
    )
