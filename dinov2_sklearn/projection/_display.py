"""ProjectionDisplay: a map as a picture or as a web page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_array, check_is_fitted

from ..drawing import SavableFigureMixin
from ._colors import spread
from ._interactive import InteractiveMixin
from ._points import as_names, as_selection, per_point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


class ProjectionDisplay(InteractiveMixin, SavableFigureMixin):
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
        self.labels = None if labels is None else per_point(labels, n_points, "labels")
        self.selected = None if selected is None else as_selection(selected, n_points)
        self.names = None if names is None else as_names(names, n_points, "names")

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
            Write each group's name at its middle, or beside it with a line where names would
            overlap (on a map of 3 coordinates they may). A name that finds no room on the map is
            left out, of the smallest groups first. Otherwise a legend names the groups, as long
            as they are few.

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
