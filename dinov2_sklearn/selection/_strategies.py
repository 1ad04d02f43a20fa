"""The strategies: pure functions from a `Task` to picks in pick order."""

from collections.abc import Callable

import numpy as np

from ..neighbors._distances import nearest
from ..neighbors._geometry import RowSubset
from ._clusters import default_n_clusters, interleave, members_of
from ._farthest_point import farthest_point
from ._task import Picks, Task, cluster_quotas, cluster_rows
from ._typical import pick_typical


def pick_random(task: Task) -> Picks:
    """Draw without replacement; with weights, each draw in proportion to them."""
    return Picks(_random_order(task)[: task.n_picks])


def pick_fps(task: Task) -> Picks:
    """Exact greedy farthest point, starting from the labelled rows."""
    return Picks(_farthest_given(task, task.preselected, task.candidates, task.n_picks))


def pick_cluster(task: Task) -> Picks:
    """k-means, quotas in proportion to the clusters, and random rows within each of them."""
    n_wanted = task.n_picks + len(task.preselected)
    n_rows = int(np.count_nonzero(task.usable))
    n_clusters = task.n_clusters or default_n_clusters(n_rows, n_wanted)
    labels, _ = cluster_rows(task, n_clusters)
    quotas = cluster_quotas(task, labels, task.n_picks, task.candidates)
    order = _random_order(task)
    drawn = [
        order[members][:quota]
        for members, quota in zip(members_of(labels[order]), quotas, strict=False)
        if quota
    ]
    return Picks(interleave(drawn), labels)


def pick_hybrid(task: Task) -> Picks:
    """Typical rows first, then the rows farthest from all of them.

    The far picks stay behind the typical ones and are not mixed in: at equal length, prefixes
    that hold typical rows alone label their neighbours better.
    """
    n_far = round(task.fps_ratio * task.n_picks)
    typical, labels = pick_typical(task, task.n_picks - n_far)
    covered = np.concatenate([task.preselected, typical.indices])
    candidates = task.candidates.copy()
    candidates[typical.indices] = False
    if task.fps_scope == "global":
        far = _farthest_given(task, covered, candidates, n_far, near=typical.near)
    else:
        far = _farthest_within(task, labels, covered, candidates, n_far)
    return Picks(np.concatenate([typical.indices, far]), labels)


STRATEGIES: dict[str, Callable[[Task], Picks]] = {
    "random": pick_random,
    "cluster": pick_cluster,
    "fps": pick_fps,
    "hybrid": pick_hybrid,
}


def _random_order(task: Task) -> np.ndarray:
    """All candidates in the order of successive draws without replacement, by weight if any.

    References
    ----------
    .. [1] P. S. Efraimidis and P. G. Spirakis, "Weighted random sampling with a reservoir",
       Information Processing Letters 97, 2006.
    """
    # Exponential clocks: the row whose clock, which runs at the speed of its weight, rings first
    # is drawn first.
    clock = task.random_state.exponential(size=len(task.X))
    never = np.zeros(len(clock), dtype=bool)
    if task.weights is not None:
        never = task.weights == 0
        clock = clock / np.where(never, 1.0, task.weights)
    order = np.lexsort((clock, never))
    return order[task.candidates[order]]


def _farthest_given(
    task: Task,
    covered: np.ndarray,
    candidates: np.ndarray,
    n_picks: int,
    *,
    near: np.ndarray | None = None,
) -> np.ndarray:
    if n_picks == 0:
        return np.empty(0, dtype=np.intp)
    indices, _ = farthest_point(
        task.X, n_picks, covered=covered, near=near, candidates=candidates, weights=task.weights
    )
    return indices


def _farthest_within(
    task: Task, labels: np.ndarray, covered: np.ndarray, candidates: np.ndarray, n_picks: int
) -> np.ndarray:
    """Farthest rows by quota: each cluster's are picked given all those picked before."""
    quotas = cluster_quotas(task, labels, n_picks, candidates)
    members = members_of(labels)
    far: list[np.ndarray] = []
    for group in np.flatnonzero(quotas):
        rows = members[group]
        inside = RowSubset(task.X, rows)
        given = np.concatenate([covered, *far])
        initial = nearest(inside, task.X[given])[1] if len(given) else None
        picked, _ = farthest_point(
            inside,
            int(quotas[group]),
            initial_sq_distances=initial,
            candidates=candidates[rows],
            weights=None if task.weights is None else task.weights[rows],
        )
        far.append(rows[picked])
    return interleave(far)
