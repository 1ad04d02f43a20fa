"""RepresentationDisplay: how much of the data so many picks stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from ..drawing import SavableFigureMixin

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["RepresentationDisplay"]


class RepresentationDisplay(SavableFigureMixin):
    """How much of the spread of the data the picks take away, by their number.

    The curve answers how many picks are enough: where it is flat, more of them add little. The
    bound above it says what any other choice of as many rows could reach at most.

    It is best made by `from_estimator`, which also draws it. All arguments are kept as attributes,
    so that it can be drawn again in another way.

    Parameters
    ----------
    representation : array-like of shape (n_picks,)
        Share of the spread that each prefix of the picks takes away: `representation_` of a
        `DiversitySampler`.
    bound : array-like of shape (n_picks,), default=None
        What it cannot exceed, `representation_bound_`; not drawn if None.
    estimator_name : str, default=None
        Name of the curve in the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes of the last `plot`.
    figure_ : matplotlib Figure
        The figure that holds them.
    line_ : matplotlib Line2D
        The curve.
    bound_line_ : matplotlib Line2D or None
        The bound.

    See Also
    --------
    DiversitySampler : Picks the rows.
    optimality_gap : Proves more than the bound does, for one number of picks.

    Examples
    --------
    >>> import numpy as np
    >>> from dinov2_sklearn import DiversitySampler, RepresentationDisplay
    >>> X = np.random.default_rng(0).normal(size=(200, 8))
    >>> sampler = DiversitySampler(50, strategy="coverage").fit(X)
    >>> display = RepresentationDisplay.from_estimator(sampler)
    >>> display.ax_.get_xlabel()
    'Picks'
    """

    def __init__(
        self,
        representation: ArrayLike,
        bound: ArrayLike | None = None,
        estimator_name: str | None = None,
    ):
        self.representation = np.asarray(representation, dtype=np.float64)
        self.bound = None if bound is None else np.asarray(bound, dtype=np.float64)
        self.estimator_name = estimator_name
        if self.representation.ndim != 1 or len(self.representation) == 0:
            raise ValueError(
                "representation must be 1-D with a number for each pick. Got an array of shape "
                f"{self.representation.shape}."
            )
        if self.bound is not None and self.bound.shape != self.representation.shape:
            raise ValueError(
                f"bound must have as many numbers as representation ({len(self.representation)}). "
                f"Got an array of shape {self.bound.shape}."
            )

    @classmethod
    def from_estimator(
        cls, sampler: Any, *, name: str | None = None, ax: Axes | None = None, **kwargs: Any
    ) -> RepresentationDisplay:
        """Draw how much the picks of a fitted sampler represent.

        Parameters
        ----------
        sampler : DiversitySampler
            A fitted one.
        name : str, default=None
            Name of the curve; by default the sampler's strategy.
        ax : matplotlib Axes, default=None
            Where to draw; a figure is made if None.
        **kwargs : dict
            Passed to `matplotlib.axes.Axes.plot` for the curve.

        Returns
        -------
        display : RepresentationDisplay
            The display, drawn.
        """
        check_is_fitted(sampler, "representation_")
        if name is None and isinstance(sampler.strategy, str):
            name = sampler.strategy
        bound = getattr(sampler, "representation_bound_", None)
        return cls(sampler.representation_, bound, name).plot(ax=ax, **kwargs)

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> RepresentationDisplay:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a figure is made if None.
        **kwargs : dict
            Passed to `matplotlib.axes.Axes.plot` for the curve.

        Returns
        -------
        self : RepresentationDisplay
            With `ax_`, `figure_`, `line_` and `bound_line_` set.
        """
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots()
            ax.locator_params(axis="x", integer=True)
        picks = np.arange(1, len(self.representation) + 1)
        options = {"label": self.estimator_name or "picks", **kwargs}
        (self.line_,) = ax.plot(picks, self.representation, **options)
        self.bound_line_ = None
        if self.bound is not None:
            color = self.line_.get_color()
            style: dict[str, Any] = {"color": color, "linestyle": "--", "linewidth": 1}
            label = "no choice can exceed"
            (self.bound_line_,) = ax.plot(picks, self.bound, label=label, **style)
        ax.set(xlabel="Picks", ylabel="Share of the spread taken away", ylim=(None, 1))
        ax.legend(loc="lower right")
        self.ax_: Axes = ax
        self.figure_: Figure | SubFigure = ax.figure
        return self
