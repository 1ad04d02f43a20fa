import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from dinov2_sklearn import NearDuplicates, NearDuplicatesDisplay


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


X = np.array([[1, 0], [1, 0.3], [1, 0.1], [0, 1], [-0.05, 1], [-1, 0], [1, 0.12]])
IMAGES = [np.full((12, 16, 3), 30 * i, dtype=np.uint8) for i in range(len(X))]


def test_groups_come_by_size_or_by_the_least_similar_row():
    duplicates = NearDuplicates(0.95).fit(X)
    display = NearDuplicatesDisplay.from_estimator(duplicates, IMAGES)
    assert [set(group.tolist()) for group in display.groups] == [{0, 1, 2, 6}, {3, 4}]
    for group in display.groups:
        assert duplicates.support_[group[0]]
        assert (np.diff(duplicates.similarity_[group[1:]]) >= 0).all()
    tight = NearDuplicates(0.995).fit(X)
    display = NearDuplicatesDisplay.from_estimator(tight, IMAGES, order="least certain")
    least = [tight.similarity_[group].min() for group in display.groups]
    assert least == sorted(least)


def test_pairs_lie_on_both_sides_of_a_stricter_threshold():
    stricter = NearDuplicates(0.9).fit(X).rethreshold(0.99)
    display = NearDuplicatesDisplay.from_estimator(stricter, IMAGES)
    assert (np.diff(display.pair_similarity) <= 0).all()
    assert display.pair_similarity.max() >= 0.99 > display.pair_similarity.min()
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    first, second = display.pairs.T
    np.testing.assert_allclose((unit[first] * unit[second]).sum(axis=1), display.pair_similarity)


@pytest.mark.parametrize("kind", ["groups", "pairs"])
def test_plot_draws_into_given_or_new_axes(kind, tmp_path):
    display = NearDuplicatesDisplay.from_estimator(NearDuplicates(0.95).fit(X), IMAGES)
    _, ax = plt.subplots()
    assert display.plot(kind, ax=ax).ax_ is ax
    assert display.plot(kind).figure_ is not ax.figure
    sheet = display.sheet(kind, columns=2)
    assert sheet.width <= display.sheet(kind).width
    if kind == "pairs":  # side by side
        assert display.sheet(kind).height < sheet.height
    display.save(tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_images_of_a_series_are_taken_by_their_places():
    paths = pd.Series([f"{i}.jpg" for i in range(len(X))], index=range(len(X))[::-1])
    display = NearDuplicatesDisplay.from_estimator(NearDuplicates(0.95).fit(X), paths)
    assert list(display.images) == paths.tolist()


def test_what_cannot_be_shown_is_said():
    duplicates = NearDuplicates(0.95).fit(X)
    with pytest.raises(ValueError, match="2 images were given for 7 fitted rows"):
        NearDuplicatesDisplay.from_estimator(duplicates, IMAGES[:2])
    with pytest.raises(ValueError, match="order must be"):
        NearDuplicatesDisplay.from_estimator(duplicates, IMAGES, order="smallest")
    alone = NearDuplicates(0.95).fit(np.eye(7))
    display = NearDuplicatesDisplay.from_estimator(alone, IMAGES)
    with pytest.raises(ValueError, match="no groups of near-duplicates"):
        display.plot()
    with pytest.raises(ValueError, match="kind must be"):
        display.plot("rows")
    with pytest.raises(ValueError, match="columns must be an int of at least 1, got 0"):
        display.plot(columns=0)
