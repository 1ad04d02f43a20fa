"""Small copies of images for the web page, inside it or as links."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..images import ImageDecodeError, ImageRef, decode_image, map_ahead
from ..utils import warn
from ._assembly import packed

__all__ = ["LEFT_OUT", "link_files", "make_thumbnails"]

UNREADABLE, LEFT_OUT = -1, 0
NAMED_FAILURES = 20
WORKERS, AHEAD = 4, 64


class Thumbnails(NamedTuple):
    """Small copies of images, one after the other."""

    text: str
    """All of them in the order of the points, each a WebP file in base64."""
    lengths: NDArray[np.int32]
    """How much of the text is each point's; `UNREADABLE` or `LEFT_OUT` where it has none."""
    sizes: NDArray[np.uint32]
    """Width and height in pixels of each point's image itself."""

    def describe(self, side: int) -> dict[str, Any]:
        """Say where the thumbnails are, as ``pictures.js`` takes it."""
        lengths, sizes = packed(self.lengths, "<i4"), packed(self.sizes, "<u4")
        return {"lengths": lengths, "sizes": sizes, "side": side}


def make_thumbnails(
    paths: Sequence[str], first: NDArray[np.intp], side: int, most_bytes: int
) -> Thumbnails:
    """Make thumbnails of a side until their text is as long as it may be.

    Those of the points `first` come first. The others follow in random order, so that those which
    find room are spread over the map. A warning tells of images that cannot be read, and of
    thumbnails that found no room.
    """
    rest = np.random.RandomState(0).permutation(len(paths))
    order = np.concatenate([first, rest[~np.isin(rest, first)]]).tolist()
    texts = [""] * len(paths)
    lengths = np.full(len(paths), LEFT_OUT, dtype=np.int32)
    sizes = np.zeros((len(paths), 2), dtype=np.uint32)
    made = map_ahead(
        lambda point: _thumbnail(paths[point], side), order, num_workers=WORKERS, ahead=AHEAD
    )
    for point, thumbnail in zip(order, made, strict=True):
        if thumbnail is None:
            lengths[point] = UNREADABLE
            continue
        text, size = thumbnail
        most_bytes -= len(text)
        if most_bytes < 0:
            break
        texts[point], lengths[point], sizes[point] = text, len(text), size
    _warn_of_missing(paths, lengths, side)
    return Thumbnails("".join(texts), lengths, sizes)


def _thumbnail(path: str, side: int) -> tuple[str, tuple[int, int]] | None:
    try:
        decoded = decode_image(path, min_size=side, exact=False)
    except ImageDecodeError:
        return None
    image = decoded.image
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    image.save(data, "WEBP", quality=70)
    return base64.b64encode(data.getvalue()).decode("ascii"), decoded.original_size


def _warn_of_missing(paths: Sequence[str], lengths: NDArray[np.int32], side: int) -> None:
    failures = [path for path, length in zip(paths, lengths, strict=True) if length == UNREADABLE]
    if failures:
        more = len(failures) - NAMED_FAILURES
        warn(
            f"{len(failures)} of {len(paths)} images cannot be read and are shown as "
            f"placeholders: {', '.join(map(repr, failures[:NAMED_FAILURES]))}"
            + (f" and {more} more." if more > 0 else "."),
        )
    left_out = int((lengths == LEFT_OUT).sum())
    if left_out:
        warn(
            f"{left_out} of {len(paths)} thumbnails are left out to keep the page within its size. "
            f"Give a larger max_mb, a smaller thumbnail_size than {side}, or "
            "thumbnails='files', which links the images instead.",
        )


def link_files(paths: Sequence[str], folder: Path, *, strict: bool = True) -> list[str | None]:
    """Give each file's address as seen from a page in `folder`; None where it cannot be opened."""
    return [_link(path, folder.absolute(), strict) for path in paths]


def _link(path: str, folder: Path, strict: bool) -> str | None:
    if path.startswith(("http://", "https://", "file://")) and "::" not in path:
        return path
    if ImageRef(path).is_url or ImageRef(path).is_part:
        if not strict:
            return None
        raise ValueError(
            f"A browser cannot open {path!r}. Give thumbnails='sprites', which puts the images "
            "into the page."
        )
    try:
        relative = os.path.relpath(path, folder)
    except ValueError:  # on another drive
        return Path(path).absolute().as_uri()
    return quote(os.fsencode(Path(relative).as_posix()))
