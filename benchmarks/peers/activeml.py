"""scikit-activeml: MaxHerding, ProbCover and TypiClust before any label is there, and BADGE."""

import warnings

import numpy as np
from skactiveml.classifier import SklearnClassifier
from skactiveml.pool import Badge, MaxHerding, ProbCover, TypiClust
from skactiveml.utils import MISSING_LABEL
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize


def cover(X: np.ndarray, n_picks: int) -> np.ndarray:
    return query(MaxHerding(random_state=0), X, n_picks)


def badge(
    X: np.ndarray, y: np.ndarray, rows: np.ndarray, first: np.ndarray, n_rounds: int
) -> np.ndarray:
    """Play rounds once for each line of `rows`, given the first picks; return places in `rows`."""
    played = []
    for seed, (some, picks) in enumerate(zip(rows, first, strict=True)):
        n_picks = len(picks)
        for _ in range(n_rounds - 1):
            known = np.full(len(some), MISSING_LABEL)
            known[picks] = y[some[picks]]
            model = LogisticRegression(C=100.0, max_iter=500)
            classifier = SklearnClassifier(model, classes=np.unique(known[picks]))
            query = Badge(random_state=seed).query
            new = query(X=X[some], y=known, clf=classifier, batch_size=n_picks)
            picks = np.concatenate([picks, new])
        played.append(picks)
    return np.array(played)


def choose(
    method: str, n_classes: list[int], budgets: list[list[int]], **sets: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Choose rows of each set, sets in the order of their names, for each of its budgets."""
    warnings.simplefilter("ignore")  # equal rows are fewer than clusters
    ordered = [sets[name] for name in sorted(sets)]
    return tuple(
        picks
        for seed, (X, n, sizes) in enumerate(zip(ordered, n_classes, budgets, strict=True))
        for picks in METHODS[method](X, n, sizes, seed)
    )


def max_herding(X, n_classes, sizes, seed):
    # A kernel of width 1 on rows of unit length, as in its paper.
    picks = query(MaxHerding(metric_dict={"gamma": 1.0}, random_state=seed), X, max(sizes))
    return [picks[:size] for size in sizes]


def prob_cover(X, n_classes, sizes, seed):
    # Radii are looked for among lengths of unit rows.
    strategy = ProbCover(n_classes=n_classes, random_state=seed)
    picks = query(strategy, normalize(X), max(sizes))
    return [picks[:size] for size in sizes]


def typi_clust(X, n_classes, sizes, seed):
    # 20 neighbours, as in its paper; clusters are as many as picks.
    return [query(TypiClust(k=20, random_state=seed), X, size) for size in sizes]


METHODS = {"MaxHerding": max_herding, "ProbCover": prob_cover, "TypiClust": typi_clust}


def query(strategy, X: np.ndarray, n_picks: int) -> np.ndarray:
    return strategy.query(X=X, y=np.full(len(X), MISSING_LABEL), batch_size=n_picks)
