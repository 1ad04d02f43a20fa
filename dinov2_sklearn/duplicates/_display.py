"""Near-duplicates to look at: groups, and pairs around the threshold."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from ..drawing import SavableFigureMixin, contact_sheet
from ..images import check_images
from ..utils import check_int
from ._near_duplicates import NearDuplicates

__all__ = ["NearDuplicatesDisplay"]

_GAP = 8


class NearDuplicatesDisplay(SavableFigureMixin):
    """Groups of near-duplicates as images, the kept one first, and pairs around the threshold.

    Make one with `from_estimator`.

    Parameters
    ----------
    images : sequence
        The images of all rows: paths, PIL images or arrays.
    groups : list of ndarray of int
        The rows of each group to show, the kept one first.
    similarity : ndarray of shape (n_rows,)
        Similarity of each row to the one that is kept.
    pairs : ndarray of int of shape (n_pairs, 2)
        Pairs of rows around the threshold, the most similar first.
    pair_similarity : ndarray of shape (n_pairs,)
        How similar they are.
    threshold : float
        The threshold, in the same terms.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn, after `plot`.
    figure_ : matplotlib Figure
        The figure of `ax_`.

    See Also
    --------
    NearDuplicates : Finds the groups.
    contact_sheet : Lays images out side by side.

    Examples
    --------
    >>> import numpy as np
    >>> from dinov2_sklearn import NearDuplicates, NearDuplicatesDisplay
    >>> images = [np.full((20, 20, 3), grey, dtype=np.uint8) for grey in (10, 12, 200)]
    >>> duplicates = NearDuplicates(0.99).fit([[1.0, 0.0], [1.0, 0.01], [0.0, 1.0]])
    >>> display = NearDuplicatesDisplay.from_estimator(duplicates, images)
    >>> display.groups
    [array([0, 1])]
    >>> display.plot().figure_
    <Figure size ...>
    """

    def __init__(
        self,
        images: Sequence[Any],
        *,
        groups: list[NDArray[np.intp]],
        similarity: NDArray[np.float64],
        pairs: NDArray[np.intp],
        pair_similarity: NDArray[np.float64],
        threshold: float,
    ) -> None:
        self.images = images
        self.groups = groups
        self.similarity = similarity
        self.pairs = pairs
        self.pair_similarity = pair_similarity
        self.threshold = threshold

    @classmethod
    def from_estimator(
        cls,
        estimator: NearDuplicates,
        images: Sequence[Any],
        *,
        order: str = "largest",
        n_groups: int = 6,
        n_pairs: int = 12,
    ) -> Self:
        """Choose what to show of fitted near-duplicates.

        Parameters
        ----------
        estimator : NearDuplicates
            Fitted.
        images : sequence
            The image of each fitted row: a path, a PIL image or an array.
        order : {"largest", "least certain"}, default="largest"
            Which groups come first: those of most rows, or those with a row that is least similar
            to the kept one.
        n_groups : int, default=6
            Groups to show at most; those of one row are not shown.
        n_pairs : int, default=12
            Pairs to show at most: those nearest to the threshold. Pairs below it are known only
            where the estimator comes from `NearDuplicates.rethreshold`.

        Returns
        -------
        display : NearDuplicatesDisplay

        Raises
        ------
        ValueError
            If there is not one image a row, or `order` is none of the two.
        """
        check_is_fitted(estimator)
        images = check_images(images, estimator_name=cls.__name__)
        if len(images) != len(estimator.labels_):
            raise ValueError(
                f"{len(images)} images were given for {len(estimator.labels_)} fitted rows."
            )
        if order not in ("largest", "least certain"):
            raise ValueError(f"order must be 'largest' or 'least certain'. Got {order!r}.")
        similarity = estimator.similarity_
        least = np.full(estimator.n_groups_, np.inf)
        np.minimum.at(least, estimator.labels_, similarity)
        rank = -estimator.group_sizes_ if order == "largest" else least
        chosen = np.argsort(np.where(estimator.group_sizes_ > 1, rank, np.inf), kind="stable")
        groups = []
        for group in chosen[:n_groups]:
            rows = np.flatnonzero(estimator.labels_ == group)
            if len(rows) > 1:
                kept = estimator.kept_indices_[group]
                rows = rows[np.argsort(similarity[rows], kind="stable")]
                groups.append(np.concatenate([[kept], rows[rows != kept]]))
        pairs, pair_similarity, threshold = estimator._pairs_around(n_pairs)
        return cls(
            images,
            groups=groups,
            similarity=similarity,
            pairs=pairs,
            pair_similarity=pair_similarity,
            threshold=threshold,
        )

    def sheet(self, kind: str = "groups", *, columns: int = 6) -> Any:
        """Lay the images out.

        Parameters
        ----------
        kind : {"groups", "pairs"}, default="groups"
            A line of images for each group, the kept one first and then the least similar ones,
            or pairs side by side.
        columns : int, default=6
            Images in a line; what a group has more is counted.

        Returns
        -------
        PIL.Image.Image

        Raises
        ------
        ValueError
            If there is nothing to show, or `kind` is none of the two.
        """
        if kind not in ("groups", "pairs"):
            raise ValueError(f"kind must be 'groups' or 'pairs'. Got {kind!r}.")
        check_int("columns", columns)
        lines = self._group_lines(columns) if kind == "groups" else self._pair_lines()
        if not lines:
            raise ValueError(f"There are no {kind} of near-duplicates to show.")
        sheets = [
            contact_sheet(
                [self.images[row] for row in rows], captions, title=title, columns=columns
            )
            for rows, captions, title in lines
        ]
        return _stack(sheets, across=1 if kind == "groups" else max(1, columns // 2))

    def plot(self, kind: str = "groups", *, ax: Any = None, columns: int = 6) -> Self:
        """Draw the images.

        Parameters
        ----------
        kind : {"groups", "pairs"}, default="groups"
            As in `sheet`.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        columns : int, default=6
            Images in a line.

        Returns
        -------
        self : NearDuplicatesDisplay
        """
        import matplotlib.pyplot as plt

        sheet = self.sheet(kind, columns=columns)
        if ax is None:
            size = (sheet.width / 100, sheet.height / 100)
            ax = plt.subplots(figsize=size, layout="constrained")[1]
        ax.imshow(np.asarray(sheet))
        ax.set_axis_off()
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    def _group_lines(self, columns: int) -> list[tuple[NDArray, list[str], str]]:
        lines = []
        for rows in self.groups:
            shown = rows[:columns]
            captions = ["kept", *(f"{self.similarity[row]:.4f}" for row in shown[1:])]
            title = f"{len(rows)} images"
            if len(rows) > len(shown):
                title += f", the kept one and the {len(shown) - 1} least similar"
            lines.append((shown, captions, title))
        return lines

    def _pair_lines(self) -> list[tuple[NDArray, list[str], str]]:
        lines = []
        for rows, value in zip(self.pairs, self.pair_similarity, strict=True):
            side = "near-duplicates" if value >= self.threshold else "below the threshold"
            lines.append((rows, [f"row {row}" for row in rows], f"{value:.4f}, {side}"))
        return lines


def _stack(sheets: list[Any], across: int) -> Any:
    """Lay sheets out in lines; where there are several in a line, all are of one size."""
    from PIL import Image

    lines = [sheets[i : i + across] for i in range(0, len(sheets), across)]
    width = max(sum(sheet.width for sheet in line) for line in lines)
    height = sum(line[0].height for line in lines) + _GAP * (len(lines) - 1)
    whole = Image.new("RGB", (width, height), "#ffffff")
    top = 0
    for line in lines:
        for i, sheet in enumerate(line):
            whole.paste(sheet, (i * sheet.width, top))
        top += line[0].height + _GAP
    return whole
