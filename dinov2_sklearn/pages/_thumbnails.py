"""Small copies of images for the web page: in sprite sheets inside it, or as links."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..images import ImageDecodeError, ImageRef, load_image, map_ahead
from ..utils import warn
from ._assembly import packed

__all__ = ["LEFT_OUT", "link_files", "make_sprites"]

SHEET_SIDE = 1024
UNREADABLE, LEFT_OUT = -1, -2
NAMED_FAILURES = 20
WORKERS = 4


class Sprites(NamedTuple):
    """Thumbnails in sheets of square cells, filled row by row from the left."""

    sheets: list[str]
    """The sheets: WebP in base64."""
    slots: NDArray[np.int32]
    """Each point's cell, counted over all sheets; `UNREADABLE` or `LEFT_OUT` where it has none."""
    sizes: NDArray[np.uint16]
    """Width and height of the thumbnail in each cell."""
    side: int
    """Width and height of a cell in pixels."""

    def describe(self) -> dict[str, Any]:
        """Say where the thumbnails are, as ``pictures.js`` takes it."""
        columns = SHEET_SIDE // self.side
        return {
            "slots": packed(self.slots, "<i4"),
            "sizes": packed(self.sizes, "<u2"),
            "side": self.side,
            "columns": columns,
            "per_sheet": columns**2,
        }


def make_sprites(
    paths: Sequence[str], first: NDArray[np.intp], side: int, most_bytes: int
) -> Sprites:
    """Make thumbnails of a side until the sheets are as large as they may be.

    Those of the points `first` come first. The others follow in random order, so that those which
    find room are spread over the map. A warning tells of images that cannot be read, and of
    thumbnails that found no room.
    """
    order = _order(len(paths), first)
    slots = np.full(len(paths), LEFT_OUT, dtype=np.int32)
    sheets: list[str] = []
    sizes: list[tuple[int, int]] = []
    n_cells = (SHEET_SIDE // side) ** 2
    pictures = map_ahead(
        lambda point: (point, _thumbnail(paths[point], side)),
        order.tolist(),
        num_workers=WORKERS,
        ahead=n_cells,
    )
    size = 0
    while size < most_bytes and (batch := list(_next_sheet(pictures, n_cells))):
        readable = [(point, picture) for point, picture in batch if picture is not None]
        slots[[point for point, picture in batch if picture is None]] = UNREADABLE
        if not readable:
            continue
        sheet = _encode([picture for _, picture in readable], side)
        size += len(sheet)
        if size > most_bytes:
            break
        slots[[point for point, _ in readable]] = np.arange(len(readable)) + len(sheets) * n_cells
        sheets.append(sheet)
        sizes += [picture.size for _, picture in readable]
        sizes += [(0, 0)] * (n_cells - len(readable))
    sprites = Sprites(sheets, slots, np.array(sizes, dtype=np.uint16), side)
    _warn_of_missing(sprites, paths)
    return sprites


def _warn_of_missing(sprites: Sprites, paths: Sequence[str]) -> None:
    failures = [path for path, slot in zip(paths, sprites.slots, strict=True) if slot == UNREADABLE]
    if failures:
        more = len(failures) - NAMED_FAILURES
        warn(
            f"{len(failures)} of {len(paths)} images cannot be read and are shown as "
            f"placeholders: {', '.join(map(repr, failures[:NAMED_FAILURES]))}"
            + (f" and {more} more." if more > 0 else "."),
        )
    left_out = int((sprites.slots == LEFT_OUT).sum())
    if left_out:
        warn(
            f"{left_out} of {len(paths)} thumbnails are left out to keep the page within its size. "
            f"Give a larger max_mb, a smaller thumbnail_size than {sprites.side}, or "
            "thumbnails='files', which links the images instead.",
        )


def link_files(paths: Sequence[str], folder: Path) -> list[str]:
    """Give each file's address as seen from a page in `folder`."""
    return [_link(path, folder.absolute()) for path in paths]


def _link(path: str, folder: Path) -> str:
    if path.startswith(("http://", "https://", "file://")) and "::" not in path:
        return path
    if ImageRef(path).is_url:
        raise ValueError(
            f"A browser cannot open {path!r}. Give thumbnails='sprites', which puts the images "
            "into the page."
        )
    try:
        relative = os.path.relpath(path, folder)
    except ValueError:  # on another drive
        return Path(path).absolute().as_uri()
    return quote(os.fsencode(Path(relative).as_posix()))


def _order(n_points: int, first: NDArray[np.intp]) -> NDArray[np.intp]:
    rest = np.random.RandomState(0).permutation(n_points)
    return np.concatenate([first, rest[~np.isin(rest, first)]])


def _next_sheet(pictures: Iterator, n_cells: int) -> Iterator[tuple[int, Image.Image | None]]:
    """Take readable pictures for one sheet, and the unreadable ones that come between them."""
    n_readable = 0
    for point, picture in pictures:
        yield point, picture
        n_readable += picture is not None
        if n_readable == n_cells:
            return


def _thumbnail(path: str, side: int) -> Image.Image | None:
    try:
        image = load_image(path, min_size=side, exact=False)
    except ImageDecodeError:
        return None
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def _encode(pictures: Sequence[Image.Image], side: int) -> str:
    columns = SHEET_SIDE // side
    n_rows = max(1, -(-len(pictures) // columns))
    sheet = Image.new("RGB", (columns * side, n_rows * side), "#808080")
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % columns * side, i // columns * side))
    data = io.BytesIO()
    sheet.save(data, "WEBP", quality=70)
    return base64.b64encode(data.getvalue()).decode("ascii")
