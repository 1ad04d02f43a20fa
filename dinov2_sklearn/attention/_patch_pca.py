"""Two principal component analyses of patch tokens: what is in front, and in which colours."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

__all__ = ["PatchPCA", "PatchSample", "fit_patch_pca"]

# Of the colours' scale: what lies beyond takes the colour of the end.
_PERCENTILES = (1, 99)


@dataclass(frozen=True, eq=False)
class PatchPCA:
    """What `PatchAttentionInspector.fit` learns of patch tokens.

    Attributes
    ----------
    mean : ndarray of shape (dim,), dtype float32
        Mean of all tokens.
    direction : ndarray of shape (dim,), dtype float32
        Their first principal component, pointing to the foreground.
    threshold : float
        Foreground are the tokens whose coordinate along `direction` is above this.
    foreground_mean : ndarray of shape (dim,), dtype float32
        Mean of the foreground's tokens.
    components : ndarray of shape (3, dim), dtype float32
        Their principal components: red, green and blue.
    low, high : ndarray of shape (3,), dtype float32
        Coordinates along `components` that become 0 and 255.
    attention_ratio : float
        How many times the attention of a background patch one of the foreground gets, on average.
        Near 1 the two sides may well be the wrong way round.
    """

    mean: NDArray[np.float32]
    direction: NDArray[np.float32]
    threshold: float
    foreground_mean: NDArray[np.float32]
    components: NDArray[np.float32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    attention_ratio: float

    def foreground(self, tokens: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Tell which tokens are in the foreground.

        Parameters
        ----------
        tokens : ndarray of shape (..., dim)
            Patch tokens.

        Returns
        -------
        ndarray of shape (...,), dtype bool
        """
        return (tokens - self.mean) @ self.direction > self.threshold

    def colors(self, tokens: NDArray[np.float32], *, background: bool = False) -> NDArray[np.uint8]:
        """Colour tokens.

        Parameters
        ----------
        tokens : ndarray of shape (..., dim)
            Patch tokens.
        background : bool, default=False
            Whether the background is coloured too; otherwise it is black.

        Returns
        -------
        ndarray of shape (..., 3), dtype uint8
        """
        coordinates = (tokens - self.foreground_mean) @ self.components.T
        span = self.high - self.low
        # Where the tokens do not differ, no colour is better than another: grey.
        scaled = np.where(span > 0, (coordinates - self.low) / np.where(span > 0, span, 1), 0.5)
        rgb = np.rint(255 * np.clip(scaled, 0, 1)).astype(np.uint8)
        if not background:
            rgb[~self.foreground(tokens)] = 0
        return rgb

    def check_dim(self, dim: int) -> None:
        """Hold tokens that are to be coloured to those that were fitted.

        Parameters
        ----------
        dim : int
            Length of a token.

        Raises
        ------
        ValueError
            If they are of another length, as those of another model are.
        """
        if dim != len(self.mean):
            raise ValueError(
                f"The colours were fitted to patch tokens of {len(self.mean)} features, and those "
                f"of the model have {dim}: call fit again after changing model_name."
            )


class PatchSample:
    """Gathers patch tokens of many images in bounded memory.

    Of `step` images one is to be added, so that there are at least 16 patches of each.
    """

    def __init__(self, n_images: int, max_patches: int = 65_536) -> None:
        self.step = -(-n_images // (max_patches // 16))
        self.n_each = max_patches // -(-n_images // self.step)
        self._tokens: list[NDArray[np.float32]] = []
        self._attention: list[NDArray[np.float32]] = []

    def add(self, tokens: NDArray[np.float32], attention: NDArray[np.float32]) -> None:
        """Add an image: tokens (grid_h, grid_w, dim), attention (n_heads, grid_h, grid_w)."""
        tokens, weights = tokens.reshape(-1, tokens.shape[-1]), attention.mean(axis=0).ravel()
        # The same patches for the same grid, whatever the other images are.
        kept = np.random.default_rng(0).permutation(len(tokens))[: self.n_each]
        self._tokens.append(tokens[kept])
        self._attention.append(weights[kept])

    def fit(self, *, invert: bool) -> PatchPCA:
        """Fit to what was added."""
        return fit_patch_pca(
            np.concatenate(self._tokens), np.concatenate(self._attention), invert=invert
        )


def fit_patch_pca(
    tokens: NDArray[np.float32], attention: NDArray[np.float32], *, invert: bool = False
) -> PatchPCA:
    """Find the foreground among tokens (n_patches, dim), and colours that tell its parts apart.

    The coordinate along the first principal component falls into two classes at Otsu's threshold
    (A Threshold Selection Method from Gray-Level Histograms, 1979). The one that gets more of the
    CLS token's attention, (n_patches,), is the foreground; `invert` takes the other. Where the
    foreground has no more than 3 tokens, the colours are those of all tokens.
    """
    mean, (direction,) = _principal_axes(tokens, 1)
    along = (tokens - mean) @ direction
    threshold = _otsu(along)
    ratio = _attention_ratio(attention, along > threshold)
    if (ratio < 1) != invert:
        direction, along, threshold, ratio = -direction, -along, -threshold, 1 / ratio
    front = tokens[along > threshold]
    if len(front) <= 3:
        front = tokens
    front_mean, components = _principal_axes(front, 3)
    low, high = _color_range(front, (front - front_mean) @ components.T)
    return PatchPCA(mean, direction, threshold, front_mean, components, low, high, ratio)


def _principal_axes(
    tokens: NDArray[np.float32], n_axes: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the mean and the first principal axes, each with its largest entry positive."""
    # Not sklearn.decomposition.PCA, which wants as many rows as axes, and some variance.
    mean = tokens.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = tokens - mean
    dim = len(mean)
    _, vectors = eigh(
        (centred.T @ centred).astype(np.float64), subset_by_index=(dim - n_axes, dim - 1)
    )
    axes = vectors.T[::-1]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return mean, (axes * np.where(largest < 0, -1, 1)).astype(np.float32)


def _otsu(values: NDArray[np.float32]) -> float:
    """Return the threshold that splits values into two classes as far apart as can be.

    It lies between two values; where all are equal there is none, and it is below them.
    """
    values = np.sort(values).astype(np.float64)
    below = np.arange(1, len(values))
    sums = np.cumsum(values)
    gap = sums[:-1] / below - (sums[-1] - sums[:-1]) / (len(values) - below)
    between = below * (len(values) - below) * gap**2
    between[values[1:] == values[:-1]] = 0
    if not between.any():
        return float(values[0]) - 1
    split = int(between.argmax())
    return float(values[split : split + 2].mean())


def _attention_ratio(attention: NDArray[np.float32], front: NDArray[np.bool_]) -> float:
    if front.all() or not attention[~front].any():
        return 1.0
    return max(float(attention[front].mean() / attention[~front].mean()), 1e-9)


def _color_range(
    tokens: NDArray[np.float32], coordinates: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    low, high = np.percentile(coordinates, _PERCENTILES, axis=0).astype(np.float32)
    # A direction along which nothing differs holds rounding errors, not to be made colours.
    noise = max(1e-3 * float((high - low).max()), 1e-5 * float(np.abs(tokens).max()))
    return low, np.where(high - low > noise, high, low)
