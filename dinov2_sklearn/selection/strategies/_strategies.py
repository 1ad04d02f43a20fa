"""The strategies: functions from a pool and a number of picks to a subset in pick order."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...neighbors import RowSubset, members_of, nearest, pair_sq_distances
from ...utils import check_indices
from ._clusters import allocate_quotas, default_n_clusters, interleave
from ._coverage import Cover, cover
from ._coverage_at_scale import cover_by_groups
from ._farthest_point import farthest_point
from ._pool import Pool, Subset, cluster_quotas, cluster_rows, count_things, spread_quotas
from ._typical import pick_typical_rows

__all__ = ["STRATEGIES", "Strategy", "pick_by_group", "pick_fps", "users_strategy"]

Strategy = Callable[[Pool, int], Subset]
# Rows up to which all pairs of them are compared, some seconds of matrix products.
EXACT_ROWS = 30_000
# Rows that are looked through at once for those that keep their distance.
_BLOCK = 1024


def pick_random(pool: Pool, n_picks: int) -> Subset:
    """Draw without replacement; with weights, each draw in proportion to them."""
    return Subset(_keep_apart(pool, _random_order(pool), n_picks))


def pick_fps(pool: Pool, n_picks: int) -> Subset:
    """Exact greedy farthest point, starting from the labelled rows."""
    return Subset(_farthest(pool, n_picks))


def pick_cluster(pool: Pool, n_picks: int) -> Subset:
    """k-means, quotas in proportion to what the clusters hold, and random rows within each."""
    n_rows = int(np.count_nonzero(pool.usable))
    n_wanted = n_picks + len(pool.preselected)
    n_clusters = pool.n_clusters or default_n_clusters(n_rows, n_wanted)
    labels, centers = cluster_rows(pool, n_clusters)
    things = count_things(pool, labels, centers)
    if things.min() < 1:
        pool = replace(pool, weights=things if pool.weights is None else things * pool.weights)
    quotas = cluster_quotas(pool, labels, centers, n_picks)
    order = _random_order(pool)
    drawn: list[NDArray[np.intp]] = []
    for members, quota in zip(members_of(labels[order]), quotas, strict=False):
        if quota:
            drawn.append(_keep_apart(pool, order[members], int(quota), drawn))
    picks = interleave(drawn)
    if len(picks) < n_picks:  # some clusters have too few rows that keep their distance
        rest = order[~np.isin(order, picks)]
        more = _keep_apart(pool, rest, n_picks - len(picks), [picks])
        picks = np.concatenate([picks, more])
    return Subset(picks, labels)


def pick_coverage(pool: Pool, n_picks: int, *, n_bounds: int | None = None) -> Subset:
    """Greedy facility location; where nothing is left to gain, the farthest rows follow.

    Rows without weight have their turn then, too.
    """
    rows = np.flatnonzero(pool.usable)
    X = pool.X if len(rows) == len(pool.X) else RowSubset(pool.X, rows)
    candidates = pool.candidates[rows]
    if pool.weights is not None:
        candidates &= pool.weights[rows] > 0
    n_wanted = min(n_picks, int(np.count_nonzero(candidates)))
    options: dict[str, Any] = {
        "candidates": candidates,
        "mass": pool.mass[rows],
        "covered": pool.labelled_rows(),
        "min_sq_distance": pool.min_sq_distance,
    }
    if len(rows) > EXACT_ROWS:
        subset = Subset(rows[cover_by_groups(X, n_wanted, **options)])
    else:
        found = cover(X, n_wanted, n_bounds=n_bounds or n_picks, **options)
        subset = _with_cover(pool, rows, found)
    n_left = n_picks - len(subset.indices)
    return _followed_by_far(replace(pool, weights=None), subset, n_left)


def _with_cover(pool: Pool, rows: NDArray[np.intp], found: Cover) -> Subset:
    """Say of all rows what was found of some of them."""
    sq_distances = np.full(len(pool.X), np.nan)
    sq_distances[rows] = found.sq_distances
    near = np.full(len(pool.X), -1, dtype=np.intp)
    near[rows] = found.nearest
    return Subset(
        rows[found.indices],
        costs=found.costs,
        sq_distances=sq_distances,
        nearest=near,
        least_costs=found.least_costs,
    )


def pick_hybrid(pool: Pool, n_picks: int) -> Subset:
    """Rows that cover most of the others first, then the rows farthest from all of them."""
    n_far = pool.count_far(n_picks)
    covering = Subset(np.empty(0, dtype=np.intp))
    if n_far < n_picks:
        covering = pick_coverage(pool, n_picks - n_far, n_bounds=n_picks)
    return _followed_by_far(pool, covering, n_picks - len(covering.indices), pool.fps_scope)


def pick_typical(pool: Pool, n_picks: int) -> Subset:
    """Rows nearest the centroids of k-means, then the rows farthest from all of them."""
    n_far = pool.count_far(n_picks)
    typical, labels = pick_typical_rows(pool, n_picks - n_far)
    rows = _keep_apart(pool, typical.indices, len(typical.indices))
    subset = _followed_by_far(
        pool, Subset(rows, labels), n_picks - len(rows), pool.fps_scope, near=typical.near
    )
    return replace(subset, labels=labels)


STRATEGIES: dict[str, Strategy] = {
    "coverage": pick_coverage,
    "hybrid": pick_hybrid,
    "fps": pick_fps,
    "typical": pick_typical,
    "cluster": pick_cluster,
    "random": pick_random,
}


def users_strategy(function: Callable[..., ArrayLike]) -> Strategy:
    """Make a strategy of a callable, which gets the rows as the user knows them."""

    def pick(pool: Pool, n_picks: int) -> Subset:
        assert pool.raw is not None
        view = pool.raw.view()
        view.flags.writeable = False
        answer = function(
            view,
            n_picks,
            preselected=pool.preselected.copy(),
            weights=pool.weights,
            random_state=pool.random_state,
        )
        indices = check_indices(answer, len(view), "The callable strategy's answer")
        if len(indices) != n_picks:
            raise ValueError(
                f"The callable strategy returned {len(indices)} rows, but {n_picks} were asked for."
            )
        taken = np.intersect1d(indices, pool.preselected)
        if taken.size:
            raise ValueError(
                f"The callable strategy returned row {taken[0]}, which is preselected."
            )
        return Subset(_keep_apart(pool, indices, n_picks))

    return pick


def pick_by_group(
    pool: Pool, n_picks: int, strategy: Strategy, groups: NDArray[np.intp], balance: str
) -> Subset:
    """Give each group a quota, and pick it within the group, away from what others have picked.

    Parameters
    ----------
    pool : Pool
    n_picks : int
    strategy : Strategy
    groups : ndarray of int of shape (n,)
        Number of each row's group, from 0.
    balance : {"proportional", "equal"}
        Whether picks and labelled rows are in proportion to the groups' rows, or as many for each.
    """
    n_groups = int(groups.max()) + 1
    sizes = np.bincount(groups[pool.candidates], minlength=n_groups)
    covered = np.bincount(groups[pool.preselected], minlength=n_groups)
    shares = None if balance == "proportional" else np.ones(n_groups)
    quotas = allocate_quotas(sizes, covered, n_picks, pool.random_state, shares=shares)
    members = members_of(groups)
    labels = np.zeros(len(groups), dtype=np.intp)
    picks: list[NDArray[np.intp]] = []
    # The largest first: what they leave uncovered is what the others' picks can be away from.
    for group in np.argsort(-quotas, kind="stable")[: np.count_nonzero(quotas)]:
        rows = members[group]
        beside = np.setdiff1d(pool.preselected, rows)
        known = [pool.X[others] for others in (beside, *picks)]
        if pool.elsewhere is not None:
            known.insert(0, pool.elsewhere)
        inside = pool.restricted_to(rows, elsewhere=np.concatenate(known))
        found = strategy(inside, int(quotas[group]))
        picks.append(rows[found.indices])
        if found.labels is not None:
            labels[rows] = found.labels + labels.max() + 1
    clustered = np.unique(labels, return_inverse=True)[1].reshape(-1) if labels.any() else None
    taken = interleave(picks)
    n_left = n_picks - len(taken)
    if n_left:
        # Some groups have too few rows that keep their distance: all others may have one.
        candidates = pool.candidates.copy()
        candidates[taken] = False
        preselected = np.concatenate([pool.preselected, taken])
        rest = replace(pool, candidates=candidates, preselected=preselected)
        taken = np.concatenate([taken, strategy(rest, n_left).indices])
    return Subset(taken, clustered)


def _random_order(pool: Pool) -> NDArray[np.intp]:
    """All candidates in the order of successive draws without replacement, by weight if any.

    References
    ----------
    .. [1] P. S. Efraimidis and P. G. Spirakis, "Weighted random sampling with a reservoir",
       Information Processing Letters 97, 2006.
    """
    # Exponential clocks: the row whose clock, which runs at the speed of its weight, rings first
    # is drawn first.
    clock = pool.random_state.exponential(size=len(pool.X))
    never = np.zeros(len(clock), dtype=bool)
    if pool.weights is not None:
        never = pool.weights == 0
        clock = clock / np.where(never, 1.0, pool.weights)
    order = np.lexsort((clock, never))
    return order[pool.candidates[order]]


def _keep_apart(
    pool: Pool, order: NDArray[np.intp], n_picks: int, others: Sequence[NDArray[np.intp]] = ()
) -> NDArray[np.intp]:
    """Take rows in order, without those too close to one taken before, to a labelled one, or to
    one of `others`.
    """
    if pool.min_sq_distance <= 0:
        return order[:n_picks]
    taken = np.concatenate([pool.labelled_rows(), *(pool.X[rows] for rows in others)])
    kept: list[int] = []
    for start in range(0, len(order), _BLOCK):
        rows = order[start : start + _BLOCK]
        block = pool.X[rows]
        away = nearest(block, taken)[1] >= pool.min_sq_distance
        first = len(kept)
        for i in np.flatnonzero(away):
            near = pair_sq_distances(pool.X[np.array(kept[first:], dtype=np.intp)], block[i])
            if len(kept) < n_picks and (near >= pool.min_sq_distance).all():
                kept.append(int(rows[i]))
        if len(kept) >= n_picks:
            break
        taken = np.concatenate([taken, pool.X[np.array(kept[first:], dtype=np.intp)]])
    return np.array(kept, dtype=np.intp)


def _followed_by_far(
    pool: Pool,
    subset: Subset,
    n_far: int,
    scope: str = "global",
    *,
    near: NDArray[np.intp] | None = None,
) -> Subset:
    """Add the rows farthest from a subset and from the labelled rows."""
    if scope == "cluster":
        n_wanted = len(subset.indices) + n_far + len(pool.preselected)
        n_rows = int(np.count_nonzero(pool.usable))
        n_clusters = pool.n_clusters or default_n_clusters(n_rows, n_wanted)
        labels, centers = cluster_rows(pool, n_clusters)
        subset = replace(subset, labels=labels)
    if n_far == 0:
        return subset
    if near is None and subset.nearest is not None:
        near = np.append(subset.indices, -1)[np.maximum(subset.nearest, -1)]
    if scope == "global":
        far = _farthest(pool, n_far, subset.indices, near=near)
    else:
        far = _farthest_within(pool, labels, centers, n_far, subset.indices)
        # Some clusters have too few rows that keep their distance: all others may have one.
        taken = np.concatenate([subset.indices, far])
        far = np.concatenate([far, _farthest(pool, n_far - len(far), taken)])
    # What is known of all rows stays as it was before these.
    return replace(subset, indices=np.concatenate([subset.indices, far]))


def _farthest(
    pool: Pool,
    n_picks: int,
    picked: NDArray[np.intp] | None = None,
    *,
    near: NDArray[np.intp] | None = None,
) -> NDArray[np.intp]:
    """Rows that are farthest from the labelled rows, from `picked` and from each other."""
    options: dict[str, Any] = {"near": near, "weights": pool.weights}
    options["initial_sq_distances"] = pool.sq_distances_elsewhere
    covered = pool.preselected if picked is None else np.concatenate([pool.preselected, picked])
    candidates = pool.candidates.copy()
    candidates[covered] = False
    far: list[NDArray[np.intp]] = []
    while n_picks := min(n_picks, int(np.count_nonzero(candidates))):
        found, sq_distances = farthest_point(
            pool.X, n_picks, covered=covered, candidates=candidates, **options
        )
        close = np.flatnonzero(sq_distances < pool.min_sq_distance)
        if close.size == 0:
            return np.concatenate([*far, found])
        far.append(found[: close[0]])
        if pool.weights is None:
            break  # all others are as close or closer
        covered = np.concatenate([covered, far[-1]])
        n_picks -= len(far[-1])
        candidates[far[-1]] = False
        rows = np.flatnonzero(candidates)
        known = np.concatenate([pool.labelled_rows(), pool.X[covered]])
        sq_distances = nearest(RowSubset(pool.X, rows), known)[1]
        candidates[rows[sq_distances < pool.min_sq_distance]] = False
    return np.concatenate([*far, np.empty(0, dtype=np.intp)])


def _farthest_within(
    pool: Pool,
    labels: NDArray[np.intp],
    centers: NDArray,
    n_picks: int,
    picked: NDArray[np.intp],
) -> NDArray[np.intp]:
    """Farthest rows by quota: each cluster's are picked given all those picked before."""
    candidates = pool.candidates.copy()
    candidates[picked] = False
    quotas = spread_quotas(pool, labels, centers, n_picks, candidates)
    members = members_of(labels)
    far: list[NDArray[np.intp]] = []
    for group in np.flatnonzero(quotas):
        rows = members[group]
        known = np.concatenate([pool.labelled_rows(), *(pool.X[some] for some in (picked, *far))])
        inside = replace(
            pool.restricted_to(rows, elsewhere=known),
            candidates=candidates[rows],
            preselected=np.empty(0, dtype=np.intp),
        )
        far.append(rows[_farthest(inside, int(quotas[group]))])
    return interleave(far)
