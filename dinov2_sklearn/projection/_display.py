"""ProjectionDisplay: a map as a picture or as a web page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_array, check_is_fitted

from .._figures import SavableFigureMixin
from .._files import atomic_write
from ._colors import as_selection, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


class ProjectionDisplay(SavableFigureMixin):
    """A map: points, their colours, and which of them were selected.

    It is best made by `from_estimator` or `from_coordinates`, which also draw it. All arguments
    are kept as attributes, so that it can be drawn again in another way.

    Parameters
    ----------
    coordinates : array-like of shape (n_points, n_components)
        Points of 1 to 3 coordinates. Points of one coordinate are spread over a strip.

    labels : array-like of shape (n_points,), default=None
        What the colours show. Floats are measurements, on a continuous scale; all else are
        groups. Integers below 0, None and NaN mean no group, in grey.

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
    the caller's back. In a notebook a drawn display shows itself. Colours come from the palette of
    Okabe and Ito [1]_, which remains readable with colour blindness; with more groups than
    colours, those share one that are far apart on the map.

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
        self.selected = None if selected is None else as_selection(selected, n_points)
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

        selected, names : see the class

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

        labels, selected, names : see the class

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

        figsize : tuple of float, default=(12, 10)
            Width and height of a new figure in inches.

        cmap : str, default=None
            Name of a matplotlib colour map, for groups as for measurements. None is ``"viridis"``
            for measurements and the palette for groups.

        title : str, default=None
            Text above the map.

        annotate : bool, default=True
            Write each group's name at its middle. Otherwise a legend names the groups, as long as
            they are few.

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
        show_images: bool = False,
        title: str | None = None,
    ) -> None:
        """Write the map as one web page, which needs no connection and no other file.

        The page can be zoomed; the pointer on a point shows its name, label and rank of selection.

        Parameters
        ----------
        path : str or path
            The HTML file to write: complete, or not there.

        image_paths : sequence of str or path, default=None
            Path of each point's image, shown as its name. None shows `names`.

        show_images : bool, default=False
            Also show the image, from a small copy of 2 to 5 kB inside the page. An image that
            cannot be read gets a placeholder, and a ``UserWarning`` names such files.

        title : str, default=None
            Heading of the page. None says how many points there are.

        Raises
        ------
        ValueError
            If `path` does not end in .html, or `image_paths` has not one path a point or is
            missing with ``show_images=True``.
        """
        from ._page import embed_images, render_page

        if Path(path).suffix.lower() not in (".html", ".htm"):
            raise ValueError(
                f"Cannot write {os.fspath(path)!r}: a web page's name ends in .html. For a picture "
                "use plot_static or save."
            )
        paths = self.names
        if image_paths is not None:
            paths = _as_names(image_paths, len(self.coordinates), "image_paths")
        if show_images and paths is None:
            raise ValueError("show_images=True needs image_paths: one path for each point.")
        images = embed_images(paths) if show_images and paths is not None else None
        page = render_page(self, names=paths, images=images, title=title)
        with atomic_write(path) as file:
            file.write(page.encode("utf-8", "backslashreplace"))


def _per_point(values: ArrayLike, n_points: int, name: str) -> NDArray:
    array = np.asarray(values)
    if array.shape != (n_points,):
        raise ValueError(
            f"{name} has shape {array.shape}, and the map has {n_points} points: give one value "
            "for each point."
        )
    return array


def _as_names(values: Sequence[str | os.PathLike[str]], n_points: int, name: str) -> list[str]:
    if isinstance(values, (str, bytes, os.PathLike)):
        raise ValueError(f"{name} must be a sequence with one path for each point, got {values!r}.")
    names = [os.fspath(value) for value in values]
    if len(names) != n_points:
        raise ValueError(
            f"{name} has {len(names)} entries, and the map has {n_points} points: give one for "
            "each point."
        )
    return names
