"""``dinov2-sklearn select``."""

import argparse
from pathlib import Path
from typing import Any

from ..utils import warn
from ._embeddings import add_embeddings, load
from ._options import (
    Commands,
    add_output_style,
    add_root,
    check_output,
    count,
    count_or_share,
    make_command,
    share,
)
from ._report import Report

_ON_SHEET = 100
# What tells a contact sheet from other images: EXIF's tag "Software".
_SOFTWARE_TAG, _SOFTWARE = 0x0131, "dinov2-sklearn select --contact-sheet"
_SHEETS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}


def add_to(commands: Commands) -> None:
    """Add the command."""
    command = make_command(
        commands,
        "select",
        "pick a diverse subset of embedded images",
        "They are written in the order in which to label them; `hybrid` puts typical images first.",
    )
    add_embeddings(command)
    command.add_argument(
        "--output", required=True, type=Path, metavar="P", help="a .csv, .txt or .json to write"
    )
    command.add_argument(
        "--n",
        required=True,
        type=count_or_share,
        metavar="N",
        help="how many to pick, or a share such as 0.1",
    )
    command.add_argument(
        "--strategy",
        choices=("hybrid", "fps", "cluster", "random"),
        default="hybrid",
        help="typical images then far ones, far ones alone, by cluster, or at random "
        "(default: %(default)s)",
    )
    command.add_argument(
        "--n-clusters", type=count, metavar="K", help="clusters to look for (default: by the data)"
    )
    command.add_argument(
        "--fps-ratio",
        type=share,
        default=0.3,
        metavar="SHARE",
        help="hybrid's share of far picks (default: %(default)s)",
    )
    command.add_argument(
        "--metric",
        choices=("euclidean", "cosine"),
        default="euclidean",
        help="distance between embeddings (default: %(default)s)",
    )
    command.add_argument(
        "--seed", type=int, default=42, metavar="N", help="of what is random (default: %(default)s)"
    )
    command.add_argument(
        "--exclude",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="selection of an earlier round, in any format: counts as labelled, is extended and "
        "not picked again; may be repeated",
    )
    command.add_argument(
        "--format",
        choices=("csv", "txt", "json", "coco", "label-studio"),
        help="default: by the extension of --output",
    )
    add_root(command)
    command.add_argument(
        "--copy-to", type=Path, metavar="DIR", help="gather the picked images here as well"
    )
    command.add_argument(
        "--copy-mode",
        choices=("copy", "symlink", "hardlink"),
        default="copy",
        help="how they are gathered (default: %(default)s)",
    )
    command.add_argument(
        "--contact-sheet",
        type=Path,
        metavar="P",
        help=f"draw the first {_ON_SHEET} picks side by side as well: a .jpg, .png or .webp",
    )
    add_output_style(command)
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> Report:
    from ..selection import DiversitySampler, write_selection

    inputs = [arguments.embeddings, *arguments.exclude]
    check_output(arguments.output, *inputs)
    if arguments.contact_sheet is not None:
        _check_sheet(arguments.contact_sheet, arguments.output, *inputs)
    rows, paths, numbers, model_name, skipped = load(arguments.embeddings)
    preselected = _preselected(arguments, paths)
    sampler = DiversitySampler(
        arguments.n,
        strategy=arguments.strategy,
        n_clusters=arguments.n_clusters,
        fps_ratio=arguments.fps_ratio,
        metric=arguments.metric,
        random_state=arguments.seed,
    ).fit(rows, preselected=preselected)
    settings = {"model_name": model_name, "embeddings": str(arguments.embeddings)}
    write_selection(
        arguments.output,
        paths,
        sampler,
        format=arguments.format,
        root=arguments.root,
        settings=settings,
        rows=numbers,
    )
    picked = [paths[row] for row in sampler.selected_indices_]
    data = {
        "output": str(arguments.output),
        "n_picks": len(picked),
        "n_images": len(paths),
        "n_excluded": len(preselected),
        "covering_radius": float(sampler.covering_radius_),
        "picks": picked,
    }
    text = f"{arguments.output}: {len(picked)} of {len(paths)} images, covering radius "
    text += f"{sampler.covering_radius_:.4g}"
    if arguments.copy_to is not None:
        data["copies"] = _copy(arguments, picked)
        text += f"\n{arguments.copy_to}: the images"
    if arguments.contact_sheet is not None:
        data["contact_sheet"] = str(arguments.contact_sheet)
        skipped = [*skipped, *_draw_sheet(arguments, picked)]
        text += f"\n{arguments.contact_sheet}: how they look"
    return Report(text, data, skipped)


def _check_sheet(sheet: Path, *others: Path) -> None:
    if sheet.suffix.lower() not in _SHEETS:
        raise ValueError(
            f"--contact-sheet {str(sheet)!r} must end in {' or '.join(_SHEETS)}: the extension "
            "says the format."
        )
    check_output(sheet, *others, option="--contact-sheet")
    _refuse_other(sheet)


def _refuse_other(sheet: Path) -> None:
    """Refuse to write over an image that is no contact sheet: it may be one of a collection."""
    from PIL import Image

    if not sheet.exists():
        return
    try:
        with Image.open(sheet) as image:
            is_ours = image.getexif().get(_SOFTWARE_TAG) == _SOFTWARE
    except Exception:  # whatever Pillow says of it, it is none of ours
        is_ours = False
    if not is_ours:
        raise FileExistsError(
            f"--contact-sheet {str(sheet)!r} exists and is no contact sheet. Name another file, or "
            "remove it first."
        )


def _draw_sheet(arguments: argparse.Namespace, picked: list[str]) -> list[dict[str, Any]]:
    """Write the sheet, and return the images that are missing on it."""
    from PIL import Image

    from ..drawing._contact_sheet import draw_sheet
    from ..utils import atomic_write

    shown = picked[:_ON_SHEET]
    title = f"{len(picked)} picks, in order" if len(picked) > 1 else "1 pick"
    if len(shown) < len(picked):
        title = f"The first {len(shown)} of {title}"
    file: Path = arguments.contact_sheet
    try:
        _refuse_other(file)  # which may have been gathered just now
        sheet, errors = draw_sheet(shown, title=title)
        mark = Image.Exif()
        mark[_SOFTWARE_TAG] = _SOFTWARE
        with atomic_write(file) as stream:
            sheet.save(stream, _SHEETS[file.suffix.lower()], quality=90, exif=mark)
    except OSError as error:
        raise OSError(
            f"The selection is in {str(arguments.output)!r}, but its contact sheet could not be "
            f"written: {error}"
        ) from error
    if errors:
        warn(
            f"{len(errors)} of {len(shown)} images on {str(file)!r} are grey: they cannot be read "
            "now. Relative paths count from the folder in which `extract` ran.",
        )
    return [{"image_id": error.source, "cause": error.reason} for error in errors]


def _copy(arguments: argparse.Namespace, picked: list[str]) -> list[str]:
    from ..selection import copy_images

    try:
        return copy_images(picked, arguments.copy_to, mode=arguments.copy_mode)
    except OSError as error:
        raise OSError(
            f"The selection is in {str(arguments.output)!r}, but its images could not all be "
            f"gathered: {error}"
        ) from error


def _preselected(arguments: argparse.Namespace, paths: list[str]) -> list[int]:
    from ..selection import read_selection
    from ..selection.files import find_rows

    excluded: set[int] = set()
    for file in arguments.exclude:
        names = read_selection(file, root=arguments.root).paths
        if names is None:
            raise ValueError(f"{str(file)!r} holds row numbers only, no paths.")
        rows = find_rows(names, paths)
        if names and not any(rows):
            raise ValueError(
                f"None of the {len(names)} images in {str(file)!r}, such as {names[0]!r}, is among "
                f"the embedded ones, such as {paths[0]!r}. Is --root needed?"
            )
        missing = sum(not found for found in rows)
        if missing:
            told = f"{missing} of the {len(names)} images in {str(file)!r}"
            warn(f"{told} are not among the embedded ones.")
        excluded.update(*rows)
    return sorted(excluded)
