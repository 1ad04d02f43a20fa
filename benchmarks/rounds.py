"""Rounds of labels: what to label next, and which labels are wrong, beside what others do.

    python benchmarks/rounds.py                    # all parts but the last, about half an hour
    python benchmarks/rounds.py --part accuracy    # or quality, speed
    python benchmarks/rounds.py --part million     # 1,000,000 rows: 12 GB of memory
    python benchmarks/rounds.py --quick            # tiny sizes: that it runs

"accuracy" plays five rounds on labelled sets. Of each set 30% of the rows are held back, a split a
seed; the accuracy is that of one logistic regression on them, whoever picked. The first round of
all but "random" and "hybrid" is coverage. BADGE is scikit-activeml's, "cleanlab" scores labels by
out-of-fold probabilities, both in environments of their own.
"""

import warnings
from time import perf_counter

import numpy as np
from _common import Results, Table, at_most, peak_memory, run_parts
from _labelled_sets import labelled_sets
from _peers import have_peer, run_peer
from selection import clustered, describe
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from dinov2_sklearn import DiversitySampler, label_quality, label_uncertainty
from dinov2_sklearn.labels._uncertainty import default_classifier

N_ROUNDS = 5
BUDGETS = (1, 2, 5, 10)
WAYS = ("ours", "margin", "entropy", "BADGE", "coverage", "hybrid", "random")

show = "{:.1f} s".format


def accuracy(quick: bool) -> None:
    """Accuracy after each of five rounds: mean and standard error over the seeds."""
    columns = [f"round {number}" for number in range(1, N_ROUNDS + 1)]
    table = Table("data", "a class", "way", *columns, "below the best of rounds 2 to 5")
    ways = [way for way in WAYS if way != "BADGE" or not quick or have_peer("activeml")]
    for name, (X, y) in labelled_sets(quick=quick).items():
        codes = np.unique(y, return_inverse=True)[1]
        n_classes = int(codes.max()) + 1
        for budget in BUDGETS[:1] if quick else BUDGETS:
            if N_ROUNDS * budget * n_classes > len(X) // 2:
                continue
            scores = {way: play(X, codes, way, budget, 2 if quick else 20) for way in ways}
            best = max(later(values).mean() for values in scores.values())
            for way, values in scores.items():
                errors = values.std(axis=0, ddof=1) / np.sqrt(len(values))
                cells = [
                    f"{m:.3f} ± {e:.3f}" for m, e in zip(values.mean(axis=0), errors, strict=True)
                ]
                mine = later(values)
                error = mine.std(ddof=1) / np.sqrt(len(mine))
                table.add(name, budget, way, *cells, f"{best - mine.mean():.3f} ± {error:.3f}")


def later(values: np.ndarray) -> np.ndarray:
    """Mean over the rounds that knew labels."""
    return values[:, 1:].mean(axis=1)


def play(X: np.ndarray, y: np.ndarray, way: str, budget: int, n_seeds: int) -> np.ndarray:
    """Play rounds on 70% of the rows; return the accuracy on the others after each, by seed."""
    splits = [
        train_test_split(np.arange(len(X)), test_size=0.3, random_state=seed)
        for seed in range(n_seeds)
    ]
    n_picks = budget * (int(y.max()) + 1)
    if way == "BADGE":
        rows = np.array([train for train, _ in splits])
        first = np.array(
            [DiversitySampler(n_picks, strategy="coverage").select(X[r]) for r in rows]
        )
        played = {"rows": rows, "first": first, "n_rounds": N_ROUNDS}
        picked = run_peer("activeml", "badge", X=X, y=y, n_runs=1, **played).result
    else:
        picked = [
            choose(X[train], y[train], n_picks, way, seed) for seed, (train, _) in enumerate(splits)
        ]
    return np.array(
        [
            [
                judge(X[train], y[train], picks[: n_picks * number], X[test], y[test])
                for number in range(1, N_ROUNDS + 1)
            ]
            for (train, test), picks in zip(splits, picked, strict=True)
        ]
    )


def choose(X: np.ndarray, y: np.ndarray, n_picks: int, way: str, seed: int) -> np.ndarray:
    labelled = np.empty(0, dtype=np.intp)
    for number in range(N_ROUNDS):
        picks = pick(X, y, labelled, n_picks, way, 100 * seed + number)
        labelled = np.concatenate([labelled, picks])
    return labelled


def pick(
    X: np.ndarray, y: np.ndarray, labelled: np.ndarray, n_picks: int, way: str, seed: int
) -> np.ndarray:
    rest = np.setdiff1d(np.arange(len(X)), labelled)
    if way == "random":
        return np.random.default_rng(seed).permutation(rest)[:n_picks]
    if way in ("coverage", "hybrid") or len(set(y[labelled])) < 2:
        strategy = "hybrid" if way == "hybrid" else "coverage"
        return DiversitySampler(n_picks, strategy=strategy).select(X, preselected=labelled)
    known = np.where(np.isin(np.arange(len(X)), labelled), y, -1)
    if way == "entropy":
        model = default_classifier()
        model.learn_scale(X)
        proba = model.fit(X[labelled], y[labelled]).predict_proba(X[rest])
        unsure = -(proba * np.log(np.maximum(proba, 1e-12))).sum(axis=1)
        return rest[np.argsort(-unsure, kind="stable")[:n_picks]]
    weights = label_uncertainty(X, known)
    if way == "margin":
        return rest[np.argsort(-weights[rest], kind="stable")[:n_picks]]
    sampler = DiversitySampler(n_picks, strategy="coverage")
    return sampler.select(X, preselected=labelled, weights=weights)


def judge(
    X: np.ndarray, y: np.ndarray, labelled: np.ndarray, X_test: np.ndarray, y_test: np.ndarray
) -> float:
    if len(set(y[labelled])) < 2:
        return float(np.mean(y_test == y[labelled[0]]))
    mean = X.mean(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nearly as many classes as labels
        model = LogisticRegression(max_iter=500).fit(X[labelled] - mean, y[labelled])
    return model.score(X_test - mean, y_test)


def quality(quick: bool) -> None:
    """AUROC of finding changed labels."""
    peers = ("logistic regression", "10 neighbours") if not quick or have_peer("cleanlab") else ()
    table = Table("data", "changed", "to", "ours", *(f"cleanlab, {peer}" for peer in peers))
    for name, (X, y) in labelled_sets(quick=quick).items():
        codes = np.unique(y, return_inverse=True)[1]
        for share in (0.05, 0.1):
            for kind in ("any class", "the nearest class"):
                seeds = range(1 if quick else 5)
                given = np.array([change(X, codes, share, kind, seed) for seed in seeds])
                found = [np.array([ours(X, labels) for labels in given])]
                for peer in peers:
                    asked = {"labels": given, "classifier": peer, "n_runs": 1}
                    found.append(run_peer("cleanlab", "score", X=X, **asked).result)
                cells = [f"{detected(codes, given, scores):.4f}" for scores in found]
                table.add(name, f"{share:.0%}", kind, *cells)


def detected(y: np.ndarray, given: np.ndarray, scores: np.ndarray) -> float:
    """Mean over the seeds of the area under the curve."""
    pairs = zip(given, scores, strict=True)
    return float(np.mean([roc_auc_score(labels != y, -low) for labels, low in pairs]))


def ours(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes of copies
        return label_quality(X, y)[0]


def change(X: np.ndarray, y: np.ndarray, share: float, kind: str, seed: int) -> np.ndarray:
    """Change some labels: to any other class, or to the one whose mean is nearest."""
    draw = np.random.default_rng(seed)
    n_classes, given = int(y.max()) + 1, y.copy()
    rows = draw.choice(len(y), int(share * len(y)), replace=False)
    if kind == "any class":
        given[rows] = (y[rows] + draw.integers(1, n_classes, len(rows))) % n_classes
        return given
    means = np.array([X[y == code].mean(axis=0) for code in range(n_classes)])
    apart = np.square(means[:, None] - means).sum(axis=2)
    np.fill_diagonal(apart, np.inf)
    given[rows] = apart.argmin(axis=1)[y[rows]]
    return given


def speed(quick: bool) -> None:
    """Seconds of a round, and of the quality of labels."""
    table = Results()
    for n in (1000,) if quick else (1000, 10_000, 100_000):
        _time(table, n)


def million(quick: bool) -> None:
    table = Results()
    _time(table, 2000 if quick else 1_000_000)
    table.value("peak memory", peak_memory() / 1e3, "{:.1f} GB".format)


def _time(table: Results, n: int) -> None:
    """Time a round of 100 picks given some 1,000 labels, and the quality of n labels."""
    X = clustered(n, 768, max(10, n // 1000))
    y = np.random.default_rng(0).integers(0, 100, n)
    some = np.where(np.arange(n) % max(2, n // 1000) == 0, y, -1)
    start = perf_counter()
    weights = label_uncertainty(X, some)
    middle = perf_counter()
    sampler = DiversitySampler(100, strategy="coverage")
    sampler.select(X, preselected=np.flatnonzero(some >= 0), weights=weights)
    end = perf_counter()
    note = f"of these label_uncertainty {middle - start:.1f} s"
    table.value(f"a round of 100, {describe(X)}", end - start, show, note=note)
    start = perf_counter()
    label_quality(X, y)
    goal = at_most(300) if n == 1_000_000 else None
    table.value(f"label_quality, {describe(X)}, all labelled", perf_counter() - start, show, goal)


PARTS = {"accuracy": accuracy, "quality": quality, "speed": speed}

if __name__ == "__main__":
    run_parts(__file__, __doc__, PARTS, {"million": million})
