"""The images of a selection, gathered in one folder."""

import contextlib
import filecmp
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

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
        The images.
    folder : path-like
        Where they go; made if it does not exist.
    mode : {"copy", "symlink", "hardlink"}, default="copy"
        Copies with their times, symbolic links to the absolute path, or hard links, which need
        the folder to be on the same disk.

    Returns
    -------
    list of str
        The new paths, in the order of `filepaths`. Each has its image's name, or that with
        ``-2``, ``-3``, ... where another image has the name already. One that is there with the
        same content stays and is not made again.

    Raises
    ------
    ValueError
        For another mode.
    OSError
        If an image is missing, or the folder cannot be written to. A copy is complete or not
        there.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from dinov2_sklearn.selection import copy_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("monday", "tuesday"):
    ...         (Path(folder) / name).mkdir()
    ...         _ = (Path(folder) / name / "bird.jpg").write_text(name)
    ...     birds = sorted(Path(folder).glob("*/bird.jpg"))
    ...     [Path(path).name for path in copy_images(birds, Path(folder) / "picks")]
    ['bird.jpg', 'bird-2.jpg']
    """
    if mode not in _MODES:
        raise ValueError(f"mode must be one of {', '.join(map(repr, _MODES))}, got {mode!r}.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    made: set[Path] = set()
    targets = []
    for filepath in map(os.fsdecode, filepaths):
        target = _place(filepath, folder, made, _MODES[mode])
        made.add(target)
        targets.append(str(target))
    return targets


def _place(source: str, folder: Path, made: set[Path], make: Callable[[str, Path], None]) -> Path:
    name = Path(source)
    number = 1
    while True:
        suffix = "" if number == 1 else f"-{number}"
        target = folder / f"{name.stem}{suffix}{name.suffix}"
        number += 1
        if target in made:
            continue
        if os.path.lexists(target):
            if target.is_file() and filecmp.cmp(source, target, shallow=False):
                return target
            continue
        make(source, target)
        return target


def _copy(source: str, target: Path) -> None:
    temporary = target.with_name(f".{os.getpid()}.part")
    try:
        shutil.copy2(source, temporary)
        temporary.replace(target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def _symlink(source: str, target: Path) -> None:
    Path(source).stat()  # a link to nothing would be made without a word
    target.symlink_to(os.path.abspath(source))  # noqa: PTH100 - keeps links


def _hardlink(source: str, target: Path) -> None:
    target.hardlink_to(source)


_MODES = {"copy": _copy, "symlink": _symlink, "hardlink": _hardlink}
