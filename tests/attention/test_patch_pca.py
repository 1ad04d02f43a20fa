"""The foreground and the colours of patches: planted ones are found, and they are stable."""

import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError

from dinov2_sklearn.attention import PatchAttentionInspector
from dinov2_sklearn.attention._patch_pca import PatchSample, _otsu, fit_patch_pca

FIELDS = ("mean", "direction", "foreground_mean", "components", "low", "high", "threshold")


def _planted(n_front=120, n_back=200, dim=10, seed=0):
    """Tokens of a background and, far from it, a foreground of varied parts; and which is which."""
    rng = np.random.default_rng(seed)
    front = rng.normal(size=(n_front, dim)) * np.linspace(3, 0.3, dim) + 8 * np.eye(dim)[-1]
    back = rng.normal(size=(n_back, dim)) * 0.3
    is_front = np.repeat([True, False], [n_front, n_back])
    order = rng.permutation(len(is_front))
    return np.concatenate([front, back])[order].astype(np.float32), is_front[order]


@pytest.mark.parametrize("seed", range(5))
def test_planted_foreground_is_found_whatever_the_sign(seed):
    tokens, is_front = _planted(seed=seed)
    attention = np.where(is_front, 0.02, 0.01).astype(np.float32)
    for sign in (1, -1):
        pca = fit_patch_pca(sign * tokens, attention)
        assert (pca.foreground(sign * tokens) == is_front).mean() > 0.98
        assert pca.attention_ratio > 1.5


def test_attention_says_which_side_is_in_front():
    tokens, is_front = _planted()
    attention = np.where(is_front, 0.01, 0.02).astype(np.float32)
    pca = fit_patch_pca(tokens, attention)
    assert (pca.foreground(tokens) == ~is_front).mean() > 0.98
    inverted = fit_patch_pca(tokens, attention, invert=True)
    np.testing.assert_array_equal(inverted.foreground(tokens), ~pca.foreground(tokens))
    assert inverted.attention_ratio == pytest.approx(1 / pca.attention_ratio)


def test_colours_are_the_principal_components_of_the_foreground():
    tokens, is_front = _planted()
    pca = fit_patch_pca(tokens, is_front.astype(np.float32))
    front = tokens[pca.foreground(tokens)]
    expected = PCA(3, svd_solver="full").fit(front.astype(np.float64))
    np.testing.assert_allclose(
        np.abs(expected.components_ @ pca.components.T), np.eye(3), atol=1e-4
    )
    coordinates = (front - pca.foreground_mean) @ pca.components.T
    np.testing.assert_allclose(pca.low, np.percentile(coordinates, 1, axis=0), atol=1e-4)
    colors = pca.colors(tokens)
    assert (colors[~pca.foreground(tokens)] == 0).all()
    # Each channel uses its whole range, and rises with its component.
    for channel, coordinate in zip(pca.colors(front).T, coordinates.T, strict=True):
        assert (channel.min(), channel.max()) == (0, 255)
        assert (np.diff(channel[np.argsort(coordinate)].astype(int)) >= 0).all()
    assert pca.colors(tokens, background=True)[~pca.foreground(tokens)].any()


def test_colours_do_not_depend_on_the_order_of_patches():
    tokens, is_front = _planted()
    attention = is_front.astype(np.float32)
    pca = fit_patch_pca(tokens, attention)
    order = np.random.default_rng(1).permutation(len(tokens))
    other = fit_patch_pca(tokens[order], attention[order])
    difference = pca.colors(tokens).astype(int) - other.colors(tokens)
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("n_tokens", [1, 2, 3, 5])
@pytest.mark.parametrize("kind", ["constant", "random", "zero"])
@pytest.mark.parametrize("invert", [False, True])
def test_few_or_equal_tokens(n_tokens, kind, invert):
    tokens = np.full((n_tokens, 8), 0.1 if kind == "constant" else 0.0, dtype=np.float32)
    if kind == "random":
        tokens = np.random.default_rng(0).normal(size=tokens.shape).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pca = fit_patch_pca(tokens, np.zeros(n_tokens, dtype=np.float32), invert=invert)
    assert all(np.isfinite(getattr(pca, name)).all() for name in FIELDS)
    if kind != "random":
        assert (pca.colors(tokens, background=True) == 128).all()


@settings(max_examples=100, deadline=None)
@given(values=st.lists(st.integers(-20, 20), min_size=1, max_size=12))
def test_otsu_agrees_with_trying_every_split(values):
    values = np.array(values, dtype=np.float32) / 4
    threshold = _otsu(values)
    if values.min() == values.max():
        assert threshold < values[0]
        return

    def within(split):
        low, high = values[values <= split], values[values > split]
        return sum(((part - part.mean()) ** 2).sum() for part in (low, high))

    best = min(within(split) for split in np.unique(values)[:-1])
    assert values.min() < threshold < values.max()
    assert within(threshold) == pytest.approx(best, abs=1e-4)


def test_sample_is_bounded():
    sample = PatchSample(n_images=50, max_patches=2_000)
    rng = np.random.default_rng(0)
    for _ in range(50):
        sample.add(rng.random((9, 10, 4), dtype=np.float32), rng.random((2, 9, 10)))
    assert sum(map(len, sample._tokens)) == 2_000
    for tokens in sample._tokens:
        assert len(np.unique(tokens, axis=0)) == 40


@given(n_images=st.integers(1, 10**7), max_patches=st.integers(16, 10**5))
def test_sample_of_any_number_of_images_is_bounded(n_images, max_patches):
    sample = PatchSample(n_images, max_patches)
    added = len(range(0, n_images, sample.step))
    assert 16 * added <= added * sample.n_each <= max_patches
    # A smaller step would be too many.
    assert sample.step == 1 or 16 * len(range(0, n_images, sample.step - 1)) > max_patches


def test_fit_of_very_many_images_looks_at_some(tiny_dinov2, image_folder, monkeypatch):
    monkeypatch.setattr(PatchSample.__init__, "__defaults__", (48,))
    few = PatchAttentionInspector(tiny_dinov2).fit(image_folder[::2])
    both = PatchAttentionInspector(tiny_dinov2), PatchAttentionInspector(tiny_dinov2)
    both[0].fit(image_folder)
    both[1].fit_transform(image_folder)
    for fitted in both:
        for name in FIELDS:
            np.testing.assert_allclose(
                getattr(fitted.patch_pca_, name), getattr(few.patch_pca_, name), atol=1e-4
            )


def test_fit_gives_the_same_colours_every_time(tiny_dinov2, image_folder):
    colors = PatchAttentionInspector(tiny_dinov2).fit(image_folder).patch_rgb(image_folder)
    assert [c.shape for c in colors] == [(4, 4, 3)] * 6
    assert all(c.dtype == np.uint8 for c in colors)
    assert any(c.any() for c in colors)
    again = PatchAttentionInspector(tiny_dinov2, num_workers=0).fit(image_folder)
    np.testing.assert_array_equal(again.patch_rgb(image_folder), colors)
    restored = pickle.loads(pickle.dumps(again))
    np.testing.assert_array_equal(restored.patch_rgb(image_folder), colors)
    # An image has the same colours whatever stands beside it.
    for path, expected in zip(image_folder, colors, strict=True):
        difference = again.patch_rgb([path])[0].astype(int) - expected
        assert np.abs(difference).max() <= 1


def test_fit_transform_learns_what_fit_does(tiny_registers, image_folder):
    for query in ("cls", (0, 1)):
        one = PatchAttentionInspector(tiny_registers, query=query).fit(image_folder)
        other = PatchAttentionInspector(tiny_registers, query=query)
        rows = other.fit_transform(image_folder)
        np.testing.assert_array_equal(rows, one.transform(image_folder))
        for name in FIELDS:
            np.testing.assert_array_equal(
                getattr(one.patch_pca_, name), getattr(other.patch_pca_, name)
            )


def test_inverting_the_foreground(tiny_dinov2, image_folder):
    plain = PatchAttentionInspector(tiny_dinov2).fit(image_folder)
    inverted = PatchAttentionInspector(tiny_dinov2, invert_foreground=True).fit(image_folder)
    for path in image_folder:
        tokens = plain.inspect(path).patch_tokens
        front = plain.patch_pca_.foreground(tokens)
        np.testing.assert_array_equal(inverted.patch_pca_.foreground(tokens), ~front)
        colored = plain.patch_rgb([path], background=True)[0]
        np.testing.assert_array_equal(plain.patch_rgb([path])[0], colored * front[..., None])


def test_one_image_of_one_patch_can_be_fitted(tiny_dinov2, image_folder):
    inspector = PatchAttentionInspector(tiny_dinov2, image_size=14).fit(image_folder[:1])
    assert inspector.patch_rgb(image_folder[:1])[0].shape == (1, 1, 3)


def test_whole_images_of_several_grids(tiny_dinov2, image_folder):
    inspector = PatchAttentionInspector(tiny_dinov2, keep_aspect=True).fit(image_folder)
    shapes = [colors.shape for colors in inspector.patch_rgb(image_folder)]
    assert shapes == [(4, 4, 3), (4, 8, 3), (11, 4, 3), (4, 4, 3), (4, 6, 3), (4, 4, 3)]


def test_colours_need_a_fit_to_this_model(tiny_dinov2, image_folder):
    inspector = PatchAttentionInspector(tiny_dinov2)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        inspector.patch_rgb(image_folder)
    pca = inspector.fit(image_folder).patch_pca_
    with pytest.raises(ValueError, match="tokens of 32 features, and those of the model have 384"):
        pca.check_dim(384)
