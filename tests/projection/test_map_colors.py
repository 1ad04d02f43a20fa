import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dinov2_sklearn.drawing._palette import (
    COLORS,
    DEUTAN,
    PALETTE,
    PROTAN,
    _far,
    _linear,
    _oklab,
    color_distances,
)
from dinov2_sklearn.projection._colors import group_points


def apart(distances):
    return distances[np.triu_indices(len(distances), 1)].min()


def test_oklab_of_known_colours():
    # Red and white as Ottosson gives them.
    lab = _oklab(_linear(("#FFFFFF", "#FF0000", "#000000")))
    expected = [[1, 0, 0], [0.627955, 0.224863, 0.125846], [0, 0, 0]]
    np.testing.assert_allclose(lab, expected, atol=1e-5)


@pytest.mark.parametrize("cones", [PROTAN, DEUTAN])
def test_without_some_cones_greys_and_blue_stay_and_red_meets_green(cones):
    grey_blue_red_green = _linear(("#808080", "#0000FF", "#FF0000", "#00FF00"))
    seen = grey_blue_red_green @ np.transpose(cones)
    np.testing.assert_allclose(seen[:2], grey_blue_red_green[:2], atol=1e-6)
    np.testing.assert_allclose(seen[2:, 0], seen[2:, 1])  # both are shades of yellow


def test_a_hundred_colours_are_distinct_and_visible():
    assert COLORS[: len(PALETTE)] == PALETTE
    assert len(set(COLORS)) == 100
    linear = _linear(COLORS)
    lightness = _oklab(linear)[:, 0]
    assert lightness.min() > 0.42
    assert lightness.max() < 0.82
    # 0.02 is about what can be told apart side by side.
    assert apart(_far(linear)) > 0.05
    assert apart(color_distances(COLORS)) > 0.05


def test_the_first_colours_are_the_farthest_apart():
    distances = [apart(color_distances(COLORS[:n])) for n in range(2, 101)]
    assert distances == sorted(distances, reverse=True)


@pytest.mark.parametrize("cones", [PROTAN, DEUTAN])
def test_the_usual_colours_can_be_told_without_red_or_green_cones(cones):
    seen = _linear(PALETTE) @ np.transpose(cones)
    assert apart(_far(seen)) > 0.07


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 100), st.integers(0, 2**32 - 1))
def test_up_to_a_hundred_groups_have_a_colour_each(n_groups, seed):
    centers = np.random.default_rng(seed).normal(size=(n_groups, 2))
    colors = group_points(np.arange(n_groups), centers).colors()
    assert sorted(colors) == sorted(COLORS[:n_groups])


def test_near_groups_are_less_alike_than_by_chance():
    ours, by_chance = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        centers = rng.normal(size=(60, 2))
        far = np.linalg.norm(centers[:, None] - centers, axis=2)
        np.fill_diagonal(far, np.inf)
        nearest = far.argmin(axis=1)
        colors = group_points(np.arange(60), centers).colors()
        for result, chosen in [(ours, colors), (by_chance, rng.permutation(colors).tolist())]:
            result.append(color_distances(tuple(chosen))[np.arange(60), nearest].min())
    assert np.median(ours) > 1.2 * np.median(by_chance)


@settings(max_examples=20, deadline=None)
@given(st.integers(101, 400), st.integers(0, 2**32 - 1))
@example(200, 711)
def test_more_groups_share_colours_evenly_and_not_with_their_nearest(n_groups, seed):
    centers = np.random.default_rng(seed).normal(size=(n_groups, 2))
    colors = np.array(group_points(np.arange(n_groups), centers).colors())
    counts = np.unique(colors, return_counts=True)[1]
    assert len(counts) == 100
    assert np.ptp(counts) <= 1
    far = np.linalg.norm(centers[:, None] - centers, axis=2)
    np.fill_diagonal(far, np.inf)
    assert (colors[far.argmin(axis=1)] != colors).all()


def test_very_many_groups_are_coloured_too():
    labels = np.arange(30_000)
    groups = group_points(labels, np.random.default_rng(0).normal(size=(30_000, 2)))
    assert len(groups.colors()) == 30_000


@settings(max_examples=50)
@given(st.lists(st.integers(-1, 5), min_size=1, max_size=40), st.integers(0, 99))
def test_a_groups_centre_is_one_of_its_points(labels, seed):
    points = np.random.default_rng(seed).normal(size=(len(labels), 2))
    groups = group_points(np.array(labels), points)
    for code, center in enumerate(groups.centers):
        assert (points[groups.codes == code] == center).all(axis=1).any()
