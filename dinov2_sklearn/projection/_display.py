"""ProjectionDisplay: a map as a picture or as a web page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Set
from datetime import UTC, date, datetime
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_array, check_is_fitted

from ..drawing import SavableFigureMixin
from ..images.sources._tables import is_missing
from ..neighbors import check_rows
from ..utils import atomic_write, check_int
from ._colors import spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["ProjectionDisplay"]

MB = 1_000_000


class ProjectionDisplay(SavableFigureMixin):
    """A map: points, their colours, and which of them were selected.

    It is best made by `from_estimator` or `from_coordinates`, which also draw it. All arguments
    are kept as attributes, so that it can be drawn again in another way.

    Parameters
    ----------
    coordinates : array-like of shape (n_points, n_components)
        Points of 1 to 3 coordinates. Points of one coordinate are spread over a strip.

    labels : array-like of shape (n_points,), default=None
        What the colours show. Floats and times are on a continuous scale; all else are groups.
        Integers below 0, None and NaN mean no group, in grey.

    selected : array-like of int or bool, default=None
        Points to highlight: indices in the order of their selection, or a mask.

    names : sequence of str or path, default=None
        Name of each point, a file say, shown on the web page.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes of the last `plot`.

    figure_ : matplotlib Figure
        The figure that holds them.

    See Also
    --------
    UMAPProjector : Makes maps.

    Notes
    -----
    A figure of its own is made without ``matplotlib.pyplot``: nothing is shown or kept open behind
    the caller's back. In a notebook a drawn display shows itself. Up to 7 groups are coloured after
    Okabe and Ito [1]_, for every kind of colour vision. Up to 100 have a colour of their own each,
    chosen to stay apart with and without red or green cones, and unlike those of groups nearby;
    of still more, those share a colour that are far apart on the map.

    References
    ----------
    .. [1] Okabe, M. and Ito, K. (2008). Color Universal Design: how to make figures and
       presentations that are friendly to colorblind people.

    Examples
    --------
    >>> import numpy as np
    >>> from dinov2_sklearn.projection import ProjectionDisplay
    >>> points = np.random.default_rng(0).normal(size=(100, 2))
    >>> display = ProjectionDisplay.from_coordinates(
    ...     points, labels=(points[:, 0] > 0), selected=[3, 14, 15], title="Two halves"
    ... )
    >>> display.ax_.get_title(loc="left")
    'Two halves'
    """

    def __init__(
        self,
        coordinates: ArrayLike,
        *,
        labels: ArrayLike | None = None,
        selected: ArrayLike | None = None,
        names: Sequence[str | os.PathLike[str]] | None = None,
    ) -> None:
        self.coordinates: NDArray = check_array(coordinates, dtype=[np.float64, np.float32])
        n_points, n_components = self.coordinates.shape
        if n_components > 3:
            raise ValueError(
                f"A map of {n_components} coordinates cannot be drawn: give at most 3 of its "
                "columns."
            )
        self.labels = None if labels is None else _per_point(labels, n_points, "labels")
        self.selected = None if selected is None else _as_selection(selected, n_points)
        self.names = None if names is None else _as_names(names, n_points, "names")

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike | None = None,
        *,
        labels: ArrayLike | None = None,
        selected: ArrayLike | None = None,
        names: Sequence[str | os.PathLike[str]] | None = None,
        ax: Axes | None = None,
        **plot_options: Any,
    ) -> ProjectionDisplay:
        """Draw the map of a fitted estimator.

        Parameters
        ----------
        estimator : UMAPProjector, or any fitted transformer
            Without X it must have the attribute ``embedding_``.

        X : array-like of shape (n_points, n_features), default=None
            Rows to place on the map and draw. None draws the rows that it was fitted with.

        labels : array-like of shape (n_points,), default=None
            See the class. None takes the estimator's ``labels_`` where it has them and X is None.

        selected, names : array-like, default=None
            See the class.

        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.

        **plot_options : dict
            Further options of `plot`.

        Returns
        -------
        display : ProjectionDisplay
        """
        check_is_fitted(estimator)
        if X is not None:
            coordinates = estimator.transform(X)
        else:
            coordinates = estimator.embedding_
            labels = getattr(estimator, "labels_", None) if labels is None else labels
        display = cls(coordinates, labels=labels, selected=selected, names=names)
        return display.plot(ax, **plot_options)

    @classmethod
    def from_coordinates(
        cls,
        coordinates: ArrayLike,
        *,
        labels: ArrayLike | None = None,
        selected: ArrayLike | None = None,
        names: Sequence[str | os.PathLike[str]] | None = None,
        ax: Axes | None = None,
        **plot_options: Any,
    ) -> ProjectionDisplay:
        """Draw given points.

        Parameters
        ----------
        coordinates : array-like of shape (n_points, n_components)
            Points of 1 to 3 coordinates.

        labels, selected, names : array-like, default=None
            See the class.

        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.

        **plot_options : dict
            Further options of `plot`.

        Returns
        -------
        display : ProjectionDisplay
        """
        display = cls(coordinates, labels=labels, selected=selected, names=names)
        return display.plot(ax, **plot_options)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        dot_size: float = 50,
        figsize: tuple[float, float] = (12, 10),
        cmap: str | None = None,
        title: str | None = None,
        annotate: bool = True,
        show_axes: bool = False,
    ) -> ProjectionDisplay:
        """Draw the map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on, three-dimensional ones for 3 coordinates. None makes a figure.

        dot_size : float, default=50
            Area of a dot in square points on a map of up to 500 points. On a larger map the
            area shrinks in proportion, to no less than 1, so that dots do not hide each other.
            Above 50,000 points of 1 or 2 coordinates a shading of their density takes their
            place: the fuller, the more opaque, in the mean colour.

        figsize : tuple of float, default=(12, 10)
            Width and height of a new figure in inches.

        cmap : str, default=None
            Name of a matplotlib colour map, for groups as for measurements. None is ``"viridis"``
            for measurements and the palette for groups.

        title : str, default=None
            Text above the map.

        annotate : bool, default=True
            Write each group's name, in its colour, at its middle, or beside it with a line where
            names would overlap (on a map of 3 coordinates they may). A name that finds no room on
            the map is left out, of the smallest groups first. Otherwise a legend names the groups,
            as long as they are few.

        show_axes : bool, default=False
            Draw the axes. The coordinates of such a map have no meaning of their own.

        Returns
        -------
        display : ProjectionDisplay
            This display.
        """
        from ._drawing import draw_frame, draw_map, new_axes

        if ax is None:
            ax = new_axes(self.coordinates.shape[1], figsize)
        self.ax_: Axes = ax
        self.figure_: Figure | SubFigure = ax.figure
        draw_map(
            ax,
            spread(self.coordinates),
            self.labels,
            self.selected,
            dot_size=dot_size,
            cmap=cmap,
            annotate=annotate,
        )
        draw_frame(ax, title, show_axes, equal=self.coordinates.shape[1] > 1)
        return self

    def write_html(
        self,
        path: str | os.PathLike[str],
        image_paths: Sequence[str | os.PathLike[str]] | None = None,
        *,
        thumbnails: str | None = None,
        thumbnail_size: int = 128,
        columns: Mapping[str, ArrayLike] | None = None,
        embeddings: ArrayLike | None = None,
        metric: str = "cosine",
        duplicates: ArrayLike | None = None,
        max_mb: float = 50,
        title: str | None = None,
    ) -> None:
        """Write the map as one web page, which needs no connection, to look and to label.

        The page zooms in to images in place of dots, searches names and groups, colours and filters
        by any column, and selects points by lasso, box, click or likeness. What is selected is
        named; `load_labels` reads the labels that it downloads, and `load_selection` selections, in
        the order of choosing.

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
            Floats and times are on a scale, all else is groups, as with the labels, whose title is
            "label". The title "selection" is taken too.

        embeddings : array-like of shape (n_points, n_features), default=None
            Rows that the map was made of: the page then shows the images nearest to one by these
            and not on the map, sorts by likeness and, where points are selected, has the distance
            to the nearest of them as a column. Neighbours of all points up to 50,000, exactly; of
            more, those of the selected and of a sample.

        metric : {"cosine", "euclidean"}, default="cosine"
            How embeddings are compared.

        duplicates : array-like of shape (n_points,), default=None
            Group of each point, such as ``NearDuplicates.labels_``, of which the page can show one
            each, the first selected or else the first, with a count.

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
        Every point is drawn, the fainter the more there are, so that a million show how dense they
        are; while the map moves, of more than 150,000 a sample. Search and selection always reach
        every point. Labels stay in the browser, under the page's title and names, until it is
        opened again. Browsers of 2024 and later show the page.
        """
        from ..pages import check_page_name, link_files, packed
        from ._page import add_neighbors, add_thumbnails, describe_map, render_map, standing_for

        check_page_name(path, "plot_static or save")
        _check_options(thumbnails, thumbnail_size, max_mb)
        n_points = len(self.coordinates)
        names = (
            self.names if image_paths is None else _as_names(image_paths, n_points, "image_paths")
        )
        if thumbnails is not None and names is None:
            raise ValueError(f"{thumbnails=} needs image_paths: one path for each point.")
        rows = None if embeddings is None else _check_embeddings(embeddings, n_points, metric)
        page = describe_map(
            spread(self.coordinates),
            self.labels,
            {
                str(key): _per_point(values, n_points, f"The column {key!r}")
                for key, values in (columns or {}).items()
            },
            self.selected,
            names,
            title,
        )
        if duplicates is not None:
            groups = _per_point(duplicates, n_points, "duplicates")
            page["stand_for"] = packed(standing_for(groups, self.selected), "<i4")
        is_linked = thumbnails == "files"
        if names is not None and (image_paths is not None or thumbnails is not None):
            page["links"] = link_files(names, Path(path).parent, strict=is_linked)
        text = ""
        # Opened first: a folder that cannot be written shows before thousands of images are read.
        with atomic_write(path) as file:
            if rows is not None:
                add_neighbors(page, rows, metric)
            if is_linked:
                page["pictures"] = {"linked": True}
            elif thumbnails == "sprites" and names is not None:
                size = int(max_mb * MB) - len(render_map(page))
                text = add_thumbnails(page, names, int(thumbnail_size), size)
            file.write(render_map(page, text).encode("ascii"))


def _per_point(values: ArrayLike, n_points: int, name: str) -> NDArray:
    """Turn values into an array with one for each point."""
    try:
        array = np.asarray(values)
    except ValueError:  # rows of unequal length
        array = np.empty(len(values), dtype=object)  # type: ignore[arg-type]
        array[:] = values
    if array.dtype == object and array.ndim == 1:
        for row, value in enumerate(array):
            if isinstance(value, (Mapping, Sequence, Set, np.ndarray)) and not isinstance(
                value, str
            ):
                raise ValueError(
                    f"{name} holds {value!r} at row {row}, and a point has one: give a number, "
                    "a date or a text for each."
                )
    if array.shape != (n_points,):
        raise ValueError(
            f"{name} has shape {array.shape}, and the map has {n_points} points: give one value "
            "for each point."
        )
    return _as_times(array) if array.dtype == object else array


def _as_times(values: NDArray[np.object_]) -> NDArray:
    """Turn objects that are all dates or missing into times of UTC; leave others as they are."""
    missing = np.array([is_missing(value) for value in values], dtype=bool)
    if missing.all() or not all(isinstance(value, date) for value in values[~missing]):
        return values
    times = np.full(len(values), np.datetime64("NaT"), dtype="datetime64[ms]")
    for row in np.flatnonzero(~missing):
        value = values[row]
        if isinstance(value, datetime) and value.tzinfo is not None:
            value = value.astimezone(UTC).replace(tzinfo=None)
        times[row] = np.datetime64(value, "ms")
    return times


def _as_names(values: Sequence[str | os.PathLike[str]], n_points: int, name: str) -> list[str]:
    """Turn paths into strings, one for each point."""
    if isinstance(values, (str, bytes, os.PathLike)):
        raise ValueError(f"{name} must be a sequence with one path for each point, got {values!r}.")
    names = [os.fsdecode(value) for value in values]
    if len(names) != n_points:
        raise ValueError(
            f"{name} has {len(names)} entries, and the map has {n_points} points: give one for "
            "each point."
        )
    return names


def _as_selection(selected: ArrayLike, n_points: int) -> NDArray[np.intp]:
    """Turn indices in pick order, or a mask, into indices."""
    chosen = np.asarray(selected)
    if chosen.ndim != 1:
        raise ValueError(f"selected must be one-dimensional, got shape {chosen.shape}.")
    if chosen.dtype == bool:
        if len(chosen) != n_points:
            raise ValueError(f"The mask selected has {len(chosen)} values for {n_points} points.")
        return np.flatnonzero(chosen)
    if len(chosen) == 0:
        return np.empty(0, dtype=np.intp)
    if chosen.dtype.kind not in "iu":
        raise ValueError(f"selected must be indices or a mask, got dtype {chosen.dtype}.")
    if chosen.min() < 0 or chosen.max() >= n_points:
        raise ValueError(
            f"selected has indices from {chosen.min()} to {chosen.max()}, and there are "
            f"{n_points} points: indices run from 0 to {n_points - 1}."
        )
    return chosen.astype(np.intp)


def _check_embeddings(embeddings: ArrayLike, n_points: int, metric: str) -> NDArray:
    if metric not in ("cosine", "euclidean"):
        raise ValueError(f"metric must be 'cosine' or 'euclidean', got {metric!r}.")
    rows = check_rows(embeddings, metric)
    if len(rows) != n_points:
        raise ValueError(
            f"embeddings has {len(rows)} rows, and the map has {n_points} points: give one for "
            "each point."
        )
    return rows


def _check_options(thumbnails: Any, thumbnail_size: Any, max_mb: Any) -> None:
    if thumbnails not in ("sprites", "files", None):
        raise ValueError(f"thumbnails must be 'sprites', 'files' or None, got {thumbnails!r}.")
    check_int("thumbnail_size", thumbnail_size, 16, 512)
    if not isinstance(max_mb, Real) or not float(max_mb) > 0:
        raise ValueError(f"max_mb must be a number above 0, got {max_mb!r}.")
