"""The interactive side of ProjectionDisplay."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..utils import atomic_write
from ._clusters import is_int
from ._colors import spread
from ._points import as_names, per_point

LABEL, SELECTION = "label", "selection"
MB = 1_000_000
# Base64 of a cell's number and of a width and a height, none of which compress well.
BYTES_A_THUMBNAIL = 11


class InteractiveMixin:
    """Mixin of displays of points: `write_html`."""

    coordinates: NDArray
    labels: NDArray | None
    selected: NDArray[np.intp] | None
    names: list[str] | None

    def write_html(
        self,
        path: str | os.PathLike[str],
        image_paths: Sequence[str | os.PathLike[str]] | None = None,
        *,
        thumbnails: str | None = None,
        thumbnail_size: int = 128,
        columns: Mapping[str, ArrayLike] | None = None,
        max_mb: float = 50,
        title: str | None = None,
    ) -> None:
        """Write the map as one web page, which needs no connection.

        The page zooms, searches names, colours by any column, shows a point's image under the
        pointer, and selects points by lasso, box or click; `load_selection` reads what it
        downloads.

        Parameters
        ----------
        path : str or path
            The HTML file to write: complete, or not there.

        image_paths : sequence of str or path, default=None
            Path of each point's image, shown as its name. None shows `names`.

        thumbnails : {"sprites", "files"} or None, default=None
            ``"sprites"`` keeps a small copy of each image inside the page. An image that cannot
            be read gets a placeholder, and a ``UserWarning`` names such files. ``"files"`` shows
            the image files themselves, which must stay where they are, seen from the page. None
            shows names only, and opens no image.

        thumbnail_size : int, default=128
            Longest side of a small copy in pixels, from 16 to 512. A copy takes about 1 kB at 64
            and 2 to 3 kB at 128.

        columns : mapping of str to array-like of shape (n_points,), default=None
            Further values to colour the points by, and to read beside them, by their titles.
            Floats are measurements, all else is groups, as with the labels, whose title is
            "label". The title "selection" is taken too.

        max_mb : float, default=50
            How large the page may become, in units of 1,000,000 bytes. Where the thumbnails do
            not fit, those of selected points and of an even sample of the others are kept; a
            ``UserWarning`` and the page say how many. Points and names are never left out.

        title : str, default=None
            Heading of the page. None says how many points there are.

        Raises
        ------
        ValueError
            If `path` does not end in .html, a sequence has not one entry a point, an option has
            no meaning, or paths are missing for `thumbnails`.

        Notes
        -----
        Up to 2,000 points are drawn as SVG, more by WebGL, and of more than 100,000 a sample over
        a shading of their density; search and selection always reach every point. Browsers of
        2024 and later show the page.
        """
        from ..pages._thumbnails import link_files, make_sprites, warn_of_missing
        from ._page import add_sprites, describe_map, render_page

        _check_options(path, thumbnails, thumbnail_size, max_mb)
        n_points = len(self.coordinates)
        names = (
            self.names if image_paths is None else as_names(image_paths, n_points, "image_paths")
        )
        if thumbnails is not None and names is None:
            raise ValueError(f"{thumbnails=} needs image_paths: one path for each point.")
        page = describe_map(
            spread(self.coordinates), self._columns(columns), self.selected, names, title
        )
        sheets: list[str] = []
        # Opened first: a folder that cannot be written shows before thousands of images are read.
        with atomic_write(path) as file:
            if thumbnails == "files" and names is not None:
                page["pictures"] = {"links": link_files(names, Path(path).parent)}
            elif thumbnails == "sprites" and names is not None:
                size = len(render_page(page, [])) + BYTES_A_THUMBNAIL * n_points
                first = np.empty(0, dtype=np.intp) if self.selected is None else self.selected
                sprites = make_sprites(names, first, int(thumbnail_size), int(max_mb * MB) - size)
                warn_of_missing(sprites, names)
                add_sprites(page, sprites)
                sheets = sprites.sheets
            file.write(render_page(page, sheets).encode("ascii"))

    def _columns(self, more: Mapping[str, ArrayLike] | None) -> dict[str, NDArray]:
        columns: dict[str, NDArray] = {} if self.labels is None else {LABEL: self.labels}
        for title, values in (more or {}).items():
            if title in columns or title == SELECTION:
                raise ValueError(f"The column title {title!r} is taken: give it another.")
            columns[str(title)] = per_point(values, len(self.coordinates), f"The column {title!r}")
        return columns


def _check_options(
    path: str | os.PathLike[str], thumbnails: Any, thumbnail_size: Any, max_mb: Any
) -> None:
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise ValueError(
            f"Cannot write {os.fspath(path)!r}: a web page's name ends in .html. For a picture "
            "use plot_static or save."
        )
    if thumbnails not in ("sprites", "files", None):
        raise ValueError(f"thumbnails must be 'sprites', 'files' or None, got {thumbnails!r}.")
    if not is_int(thumbnail_size) or not 16 <= thumbnail_size <= 512:
        raise ValueError(f"thumbnail_size must be an int from 16 to 512, got {thumbnail_size!r}.")
    if not isinstance(max_mb, (int, float)) or not max_mb > 0:
        raise ValueError(f"max_mb must be a number above 0, got {max_mb!r}.")
