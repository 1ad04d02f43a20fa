"""``dinov2-sklearn select``."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ._options import Command, Commands, check_output, count, count_or_share, given, share
from ._report import Report, load

__all__ = ["add_to"]

_SAMPLER = "selection._sampler.DiversitySampler"
_ON_SHEET = 100
_SHEETS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}


def add_to(commands: Commands) -> None:
    """Add the command."""
    command = Command(
        commands,
        "select",
        "pick a diverse subset of embedded images",
        "They are written in the order in which to label them; `hybrid` puts typical images first.",
        _run,
    )
    command.add_embeddings()
    command.option("--output", Path, "P", "a .csv, .txt or .json to write", required=True)
    how_many = "how many to pick, or a share such as 0.1"
    command.option("--n", count_or_share, "N", how_many, required=True)
    parameter = partial(command.parameter, _SAMPLER)
    what = "typical images then far ones, far ones alone, by cluster, or at random"
    parameter("strategy", ("hybrid", "fps", "cluster", "random"), None, what)
    parameter("n_clusters", count, "K", "clusters to look for (default: by the data)")
    parameter("fps_ratio", share, "SHARE", "hybrid's share of far picks")
    parameter("metric", ("euclidean", "cosine"), None, "distance between embeddings")
    parameter("random_state", int, "N", "of what is random", flag="--seed")
    which = "selection of an earlier round, in any format: counts as labelled, is extended and "
    which += "not picked again; may be repeated"
    command.option("--exclude", [Path], "FILE", which, default=[])
    formats = ("csv", "txt", "json", "coco", "label-studio")
    command.option("--format", formats, None, "default: by the extension of --output")
    command.add_root()
    command.option("--copy-to", Path, "DIR", "gather the picked images here as well")
    modes = ("copy", "symlink", "hardlink")
    command.option("--copy-mode", modes, None, "how they are gathered", default="copy")
    what = f"draw the first {_ON_SHEET} picks side by side as well: a .jpg, .png or .webp"
    command.option("--contact-sheet", Path, "P", what)
    command.switch("--force", "replace a contact sheet that is there already")


def _run(arguments: argparse.Namespace) -> Report:
    from ..selection import DiversitySampler, copy_images, write_selection

    inputs = [arguments.embeddings, *arguments.exclude]
    check_output(arguments.output, *inputs)
    if arguments.contact_sheet is not None:
        _check_sheet(arguments, *inputs)
    rows, paths, numbers, model_name, skipped = load(arguments.embeddings)
    preselected = _preselected(arguments, paths)
    sampler = DiversitySampler(arguments.n, **given(arguments, _SAMPLER))
    sampler.fit(rows, preselected=preselected)
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
        with _after_selection(arguments, "images could not all be gathered"):
            data["copies"] = copy_images(picked, arguments.copy_to, mode=arguments.copy_mode)
        text += f"\n{arguments.copy_to}: the images"
    if arguments.contact_sheet is not None:
        data["contact_sheet"] = str(arguments.contact_sheet)
        skipped = [*skipped, *_draw_sheet(arguments, picked, paths)]
        text += f"\n{arguments.contact_sheet}: how they look"
    return Report(text, data, skipped)


def _check_sheet(arguments: argparse.Namespace, *inputs: Path) -> None:
    sheet: Path = arguments.contact_sheet
    if sheet.suffix.lower() not in _SHEETS:
        raise ValueError(
            f"--contact-sheet {str(sheet)!r} must end in {' or '.join(_SHEETS)}: the extension "
            "says the format."
        )
    check_output(sheet, arguments.output, *inputs, option="--contact-sheet")
    _refuse_other(arguments, [])


def _refuse_other(arguments: argparse.Namespace, paths: list[str]) -> None:
    """Refuse to write over another file: it may be an image of the collection."""
    sheet: Path = arguments.contact_sheet
    if sheet.exists() and not arguments.force:
        raise FileExistsError(
            f"--contact-sheet {str(sheet)!r} exists. Name another file, or replace it with --force."
        )
    real = sheet.resolve()
    if any(Path(path).resolve() == real for path in paths if path.endswith(real.name)):
        raise FileExistsError(
            f"--contact-sheet {str(sheet)!r} is one of the images. Name another file."
        )


def _draw_sheet(
    arguments: argparse.Namespace, picked: list[str], paths: list[str]
) -> list[dict[str, Any]]:
    """Write the sheet, and return the images that are missing on it."""
    from ..drawing._contact_sheet import draw_sheet
    from ..utils import atomic_write, warn

    shown = picked[:_ON_SHEET]
    title = f"{len(picked)} picks, in order" if len(picked) > 1 else "1 pick"
    if len(shown) < len(picked):
        title = f"The first {len(shown)} of {title}"
    file: Path = arguments.contact_sheet
    with _after_selection(arguments, "contact sheet could not be written"):
        _refuse_other(arguments, paths)  # it may have been gathered just now
        sheet, errors = draw_sheet(shown, title=title)
        with atomic_write(file) as stream:
            sheet.save(stream, _SHEETS[file.suffix.lower()], quality=90)
    if errors:
        warn(
            f"{len(errors)} of {len(shown)} images on {str(file)!r} are grey: they cannot be read "
            "now. Relative paths count from the folder in which `extract` ran.",
        )
    return [{"image_id": error.source, "cause": error.reason} for error in errors]


@contextmanager
def _after_selection(arguments: argparse.Namespace, failure: str) -> Iterator[None]:
    """Say of what fails afterwards that the selection is there."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"The selection is in {str(arguments.output)!r}, but its {failure}: {error}"
        ) from error


def _preselected(arguments: argparse.Namespace, paths: list[str]) -> list[int]:
    from ..selection import read_selection
    from ..selection.files import find_rows
    from ..utils import warn

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
