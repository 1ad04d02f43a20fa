"""From checked rows to picks: who may be picked, how many, and by which strategy."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from ..neighbors import Rows, knn
from ..utils import check_indices, warn
from ._strategies import STRATEGIES
from ._task import Picks, Task
from ._validation import check_n_samples

# Not the nearest neighbour: a small knot of odd rows is an outlier as well.
OUTLIER_NEIGHBOR = 10
_STRATEGIES_WITHOUT_OUTLIERS = ("fps", "hybrid")


def candidate_mask(
    geometry: Rows,
    preselected: np.ndarray,
    strategy: str | Callable[..., ArrayLike],
    outlier_fraction: float,
) -> np.ndarray:
    """Mask of the rows that may be picked: not labelled already, and no outliers."""
    candidates = np.ones(len(geometry), dtype=bool)
    candidates[preselected] = False
    if not candidates.any():
        raise ValueError(f"All {len(geometry)} rows of X are preselected: nothing is left to pick.")
    n_outliers = int(outlier_fraction * len(geometry))
    if strategy in _STRATEGIES_WITHOUT_OUTLIERS and n_outliers:
        candidates[outliers(geometry, n_outliers)] = False
        if not candidates.any():
            raise ValueError(
                f"All rows of X are preselected or among the {n_outliers} outliers that "
                f"outlier_fraction={outlier_fraction} leaves out: nothing is left to pick."
            )
    return candidates


def outliers(geometry: Rows, n_outliers: int) -> np.ndarray:
    """Return the rows farthest from their 10th nearest neighbour, the lowest indices in a tie."""
    _, sq_distances = knn(geometry, OUTLIER_NEIGHBOR)
    return np.argsort(-sq_distances[:, -1], kind="stable")[:n_outliers]


def count_picks(n_samples: int | float, candidates: np.ndarray, owner: str) -> int:
    """Return how many rows to pick; warn where fewer are left than `n_samples` asks for."""
    n_candidates = int(np.count_nonzero(candidates))
    n_picks = check_n_samples(n_samples, n_candidates, owner)
    if n_picks > n_candidates:
        warn(
            f"n_samples={n_samples} is more than the {n_candidates} rows that can be picked: "
            "all of them are selected.",
        )
    return min(n_picks, n_candidates)


def pick(rows: np.ndarray, task: Task, strategy: str | Callable[..., ArrayLike]) -> Picks:
    """Run a built-in strategy on the task, or a callable one on the rows as the user knows them."""
    if not callable(strategy):
        return STRATEGIES[strategy](task)
    view = rows.view()
    view.flags.writeable = False
    answer = strategy(
        view,
        task.n_picks,
        preselected=task.preselected.copy(),
        weights=task.weights,
        random_state=task.random_state,
    )
    indices = check_indices(answer, len(rows), "The callable strategy's answer")
    if len(indices) != task.n_picks:
        raise ValueError(
            f"The callable strategy returned {len(indices)} rows, but {task.n_picks} were asked "
            "for."
        )
    taken = np.intersect1d(indices, task.preselected)
    if taken.size:
        raise ValueError(f"The callable strategy returned row {taken[0]}, which is preselected.")
    return Picks(indices)
