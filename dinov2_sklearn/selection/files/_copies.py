"""The images of a selection, gathered in one folder."""

import errno
import filecmp
import itertools
import os
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePath

from ...images import ImageRef
from ...utils import temporary_beside

__all__ = ["copy_images"]


def copy_images(
    filepaths: Iterable[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    *,
    mode: str = "copy",
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
        For another mode, or a link to a URL.
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
        if filepath not in targets:
            targets[filepath] = _place(filepath, folder, set(targets.values()), mode)
        given.append(str(targets[filepath]))
    return given


def _place(source: str, folder: Path, made: set[Path], mode: str) -> Path:
    name = ImageRef(source)
    for number in itertools.count(1):
        suffix = "" if number == 1 else f"-{number}"
        target = folder / f"{name.stem}{suffix}{PurePath(name.name).suffix}"
        if target in made:
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
    if ImageRef(source).is_url:
        with ImageRef(source).open() as file:
            return file.read() == target.read_bytes()
    if mode == "copy" and target.samefile(source):
        return False
    return filecmp.cmp(source, target, shallow=False)


def _copy(source: str, target: Path) -> None:
    temporary = temporary_beside(target)
    try:
        if ImageRef(source).is_url:
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


def _symlink(source: str, target: Path) -> None:
    _refuse_url(source)
    Path(source).stat()  # a link to nothing would be made without a word
    target.symlink_to(os.path.abspath(source))  # noqa: PTH100 - keeps links


def _hardlink(source: str, target: Path) -> None:
    _refuse_url(source)
    target.hardlink_to(os.path.realpath(source))


def _refuse_url(source: str) -> None:
    if ImageRef(source).is_url:
        raise ValueError(f"No link can lead to the URL {source!r}; copy the images instead.")


_MODES = {"copy": _copy, "symlink": _symlink, "hardlink": _hardlink}
