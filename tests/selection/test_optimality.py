"""Proofs of how good a selection is, and the curve of how much it represents."""

from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from dinov2_sklearn import (
    DiversitySampler,
    RepresentationDisplay,
    optimality_gap,
    selection_report,
)
from dinov2_sklearn.selection import _optimality


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 5), st.booleans(), st.booleans())
def test_no_choice_costs_less_than_the_bound(seed, n_picks, weighted, single):
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(10, 2)).astype(np.float32 if single else np.float64)
    X[7] = X[2]
    weights = rng.randint(1, 5, size=10).astype(float) if weighted else np.ones(10)
    table = ((X[:, None].astype(float) - X[None].astype(float)) ** 2).sum(axis=-1)
    costs = {
        rows: weights @ table[:, list(rows)].min(axis=1)
        for rows in combinations(range(10), n_picks)
    }
    best = min(costs, key=costs.get)
    for rows in (best, tuple(range(n_picks))):
        proof = optimality_gap(X, rows, weights=weights)
        assert proof.cost == pytest.approx(costs[rows])
        assert proof.lower_bound <= costs[best] * (1 + 1e-9)
        assert proof.gap == pytest.approx(proof.cost / proof.lower_bound - 1, abs=1e-12)
    # Small problems are mostly solved, and never missed by far.
    assert optimality_gap(X, best, weights=weights).gap < 0.35


def test_real_rows_are_nearly_solved():
    X = load_digits(return_X_y=True)[0]
    for n_picks, most in ((50, 0.04), (200, 0.025)):
        picks = DiversitySampler(n_picks, strategy="coverage").select(X)
        proof = optimality_gap(X, picks)
        assert 0 < proof.gap < most
        random = DiversitySampler(n_picks, strategy="random").select(X)
        worse = optimality_gap(X, random)
        assert worse.lower_bound == pytest.approx(proof.lower_bound, rel=2e-3)
        assert worse.gap > 3 * proof.gap


def test_the_bound_agrees_with_the_one_of_the_choice_itself():
    X = load_digits(return_X_y=True)[0][:600]
    sampler = DiversitySampler(40, strategy="coverage").fit(X)
    proof = optimality_gap(X, sampler.selected_indices_)
    spread = proof.cost / (1 - sampler.representation_[-1])
    assert proof.lower_bound >= spread * (1 - sampler.representation_bound_[-1])


def test_cosine_and_single_precision():
    X = load_digits(return_X_y=True)[0][:500] + 1
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    picks = DiversitySampler(20, strategy="coverage", metric="cosine").select(X)
    proof, squared = optimality_gap(X, picks, metric="cosine"), optimality_gap(unit, picks)
    assert proof.cost == pytest.approx(squared.cost / 2)
    assert proof.gap == pytest.approx(squared.gap, abs=1e-3)
    single = optimality_gap(unit.astype(np.float32), picks)
    assert single.gap == pytest.approx(squared.gap, abs=1e-3)


def test_rounding_never_lifts_the_bound(monkeypatch):
    X = (load_digits(return_X_y=True)[0][:400] + 1000).astype(np.float32)
    picks = DiversitySampler(30, strategy="coverage").select(X)
    exact = optimality_gap(X, picks)
    monkeypatch.setattr(_optimality, "_FLOAT64_ROWS", 0)
    rounded = optimality_gap(X, picks)
    assert 0.99 * exact.lower_bound < rounded.lower_bound <= exact.lower_bound * (1 + 1e-3)


def test_few_kept_pairs_leave_a_bound(monkeypatch):
    X = load_digits(return_X_y=True)[0][:400]
    picks = DiversitySampler(30, strategy="coverage").select(X)
    full = optimality_gap(X, picks)
    monkeypatch.setattr(_optimality, "_PAIRS", 400 * 5)
    few = optimality_gap(X, picks)
    assert 0 < few.lower_bound <= full.lower_bound * (1 + 1e-6)


def test_everything_selected_costs_nothing():
    X = np.repeat(np.eye(3), 2, axis=0)
    proof = optimality_gap(X, [0, 2, 4])
    assert (proof.cost, proof.lower_bound, proof.gap) == (0, 0, 0)
    assert optimality_gap(X, [0, 2]).gap == pytest.approx(0, abs=1e-3)
    assert optimality_gap(X, [0, 1, 2]).gap == np.inf
    assert "3 of 6 rows, proven within 0.0% of the least cost" in str(proof)


@pytest.mark.parametrize(
    ("indices", "options", "message"),
    [
        ([], {}, "indices is empty"),
        ([0, 99], {}, "indices holds 99, which is no row of X"),
        ([0], {"metric": "l1"}, "metric must be one of .* Got 'l1'"),
        ([0], {"weights": [1.0]}, "weights must be 1-D with one number a row"),
        ([0], {"weights": -np.ones(30)}, "must be finite and not negative"),
    ],
)
def test_impossible_arguments(indices, options, message):
    with pytest.raises(ValueError, match=message):
        optimality_gap(np.random.RandomState(0).normal(size=(30, 2)), indices, **options)


def test_too_many_rows_are_refused(monkeypatch):
    monkeypatch.setattr(_optimality, "MAX_ROWS", 20)
    X = np.random.RandomState(0).normal(size=(30, 2))
    with pytest.raises(ValueError, match="X has 30 distinct rows.* at most 20 are"):
        optimality_gap(X, [0])
    assert optimality_gap(X[np.arange(30) % 9], [0]).lower_bound > 0


def test_report_says_it_in_words():
    X = load_digits(return_X_y=True)[0][:300]
    sampler = DiversitySampler(20, strategy="coverage").fit(X)
    report = selection_report(X, sampler.selected_indices_, prove=True, n_random=2)
    assert report.selection.representation == pytest.approx(sampler.representation_[-1])
    assert report.random.representation < report.selection.representation
    share = f"{sampler.representation_[-1]:.0%}"
    assert f"these 20 rows take away {share} of the spread" in str(report)
    assert f"proven within {report.gap:.1%} of the least cost that 20 rows can have" in str(report)
    assert selection_report(X, [0], n_random=1).gap is None


def test_verbose_says_what_is_represented(capfd):
    X = load_digits(return_X_y=True)[0][:300]
    sampler = DiversitySampler(20, strategy="coverage", verbose=True).fit(X)
    said = capfd.readouterr().err
    assert f"taking away {sampler.representation_[-1]:.1%} of the spread" in said
    assert f"no choice takes more than {sampler.representation_bound_[-1]:.1%}" in said


@pytest.fixture
def no_window():
    with mpl.rc_context({"backend": "agg"}):
        yield
        mpl.pyplot.close("all")


def test_display_draws_both_curves(no_window, tmp_path):
    X = load_digits(return_X_y=True)[0][:300]
    sampler = DiversitySampler(20, strategy="coverage").fit(X)
    display = RepresentationDisplay.from_estimator(sampler, color="red")
    assert display.figure_ is display.ax_.figure
    np.testing.assert_array_equal(display.line_.get_xdata(), np.arange(1, 21))
    np.testing.assert_array_equal(display.line_.get_ydata(), sampler.representation_)
    np.testing.assert_array_equal(display.bound_line_.get_ydata(), sampler.representation_bound_)
    assert display.line_.get_color() == "red"
    assert display.line_.get_label() == "coverage"
    assert all(tick.is_integer() for tick in display.ax_.get_xticks())
    display.save(tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 1000
    # A second one on the same axes, without a bound.
    fps = DiversitySampler(20, strategy="fps").fit(X)
    other = RepresentationDisplay.from_estimator(fps, name="far", ax=display.ax_)
    assert other.ax_ is display.ax_
    assert other.bound_line_ is None
    assert other.line_.get_label() == "far"


def test_display_refuses_what_is_no_curve():
    with pytest.raises(ValueError, match="representation must be 1-D"):
        RepresentationDisplay([])
    with pytest.raises(ValueError, match="as many numbers as representation"):
        RepresentationDisplay([0, 0.5], [0.5])
