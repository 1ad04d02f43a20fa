"""Contact sheets that commands draw of what they found."""

import argparse
from pathlib import Path
from typing import Any

from ._options import Command, check_output

__all__ = ["add_sheet", "check_sheet", "refuse_images", "write_sheet"]

_ON_SHEET = 100
_KINDS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}


def add_sheet(command: Command, what: str) -> None:
    """Add where the sheet goes; `what` is shown on it."""
    what = f"draw the first {_ON_SHEET} {what} side by side as well: a .jpg, .png or .webp"
    command.option("--contact-sheet", Path, "P", what)
    command.switch("--force", "replace a contact sheet that is there already")
    command.require("there is no --contact-sheet", lambda a: a.contact_sheet, "--force")


def check_sheet(arguments: argparse.Namespace, *others: Path) -> None:
    """Refuse a sheet that cannot be written, or that is another file, before hours of work."""
    sheet: Path | None = arguments.contact_sheet
    if sheet is None:
        return
    if sheet.suffix.lower() not in _KINDS:
        raise ValueError(
            f"--contact-sheet {str(sheet)!r} must end in {' or '.join(_KINDS)}: the extension "
            "says the format."
        )
    check_output(sheet, *others, option="--contact-sheet")
    _refuse_file(arguments)


def write_sheet(
    arguments: argparse.Namespace,
    shown: list[str],
    what: str,
    images: list[str],
    captions: list[str] | None = None,
) -> list[dict[str, Any]]:
    """Write the sheet, which is none of the images; return those that are missing on it."""
    from ..drawing._contact_sheet import draw_sheet
    from ..utils import atomic_write, warn

    title = what[:1].upper() + what[1:]
    captions = captions and captions[:_ON_SHEET]
    if len(shown) > _ON_SHEET:
        title, shown = f"The first {_ON_SHEET} of {what}", shown[:_ON_SHEET]
    file: Path = arguments.contact_sheet
    # Either may have been gathered just now.
    _refuse_file(arguments)
    refuse_images(arguments, images)
    sheet, errors = draw_sheet(shown, captions, title=title)
    with atomic_write(file) as stream:
        sheet.save(stream, _KINDS[file.suffix.lower()], quality=90)
    if errors:
        warn(
            f"{len(errors)} of {len(shown)} images on {str(file)!r} are grey: they cannot be read "
            "now. Relative paths count from the folder in which `extract` ran."
        )
    return [{"image_id": error.source, "cause": error.reason} for error in errors]


def refuse_images(arguments: argparse.Namespace, images: list[str]) -> None:
    """Refuse a sheet that is one of the images."""
    if arguments.contact_sheet is None:
        return
    real = arguments.contact_sheet.resolve()
    if any(Path(image).resolve() == real for image in images if image.endswith(real.name)):
        raise FileExistsError(
            f"--contact-sheet {str(arguments.contact_sheet)!r} is one of the images. Name another "
            "file."
        )


def _refuse_file(arguments: argparse.Namespace) -> None:
    """Refuse to write over another file."""
    sheet: Path = arguments.contact_sheet
    if sheet.exists() and not arguments.force:
        raise FileExistsError(
            f"--contact-sheet {str(sheet)!r} exists. Name another file, or replace it with --force."
        )
