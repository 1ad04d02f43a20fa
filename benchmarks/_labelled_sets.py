"""Labelled sets that benchmarks share: rows and their classes, of data that packages ship.

    for name, (X, y) in labelled_sets().items(): ...

Pictures are embedded with the offline checkpoint; `build/` keeps them and their embeddings, so
that another run has all sets within seconds. Two sets come from Debian, by `apt-get download`, not
installed; where that fails they are left out, which is printed:

- "stamps": photographs and drawings of animals, fruit, houses, tools ... of Tux Paint, GPL-2
  (package tuxpaint-stamps-default);
- "clip art": drawings of the Open Clip Art Library, in the public domain (openclipart-png).
"""

import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from dinov2_sklearn import DINOv2Transformer, list_images, make_demo_images

__all__ = ["LabelledSet", "labelled_sets", "with_burst"]

BUILD = Path(__file__).parents[1] / "build"
FEWEST, MOST = 10, 40  # pictures of a class of a Debian package

LabelledSet = tuple[NDArray[np.floating], NDArray]


def labelled_sets(*, quick: bool = False) -> dict[str, LabelledSet]:
    """Load all sets by name; a quick run has the first 200 digits."""
    X, y = load_digits(return_X_y=True)
    X = X / 16
    if quick:
        return {"digits": (X[:200], y[:200])}
    # Each class two thirds of the one before: 178 rows of the most common, 5 of the rarest.
    kept = np.concatenate(
        [np.flatnonzero(y == c)[: max(5, int(178 * (2 / 3) ** c))] for c in range(10)]
    )
    sets = {
        "digits": (X, y),
        "imbalanced digits": (X[kept], y[kept]),
        "demo scenes": _demo_scenes(),
    }
    for name, load in (("stamps", _stamps), ("clip art", _clip_art)):
        try:
            sets[name] = load()
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"Without {name}, which apt-get did not download: {error}\n", flush=True)
    return sets


def with_burst(
    X: NDArray[np.floating], y: NDArray, *, share: float, jitter: float = 1e-3, seed: int = 0
) -> LabelledSet:
    """Add near copies of one row, until they are this share of all rows.

    ``jitter`` is the length of the noise beside the rows' root mean square distance to their mean.
    """
    rng = np.random.default_rng(seed)
    row = rng.integers(len(X))
    n_copies = round(share / (1 - share) * len(X))
    noise = rng.standard_normal((n_copies, X.shape[1]))
    noise *= jitter * np.sqrt(X.var(axis=0).sum() / X.shape[1])
    burst = (X[row] + noise).astype(X.dtype)
    return np.concatenate([X, burst]), np.concatenate([y, np.repeat(y[row], n_copies)])


def _demo_scenes() -> LabelledSet:
    """Embed the demo images; the scene is the class."""
    with tempfile.TemporaryDirectory() as folder:
        paths = list_images(make_demo_images(folder))
        return _embed(paths), np.array([Path(path).parent.name for path in paths])


def _stamps() -> LabelledSet:
    root = _debian_files("tuxpaint-stamps-default") / "usr/share/tuxpaint/stamps"
    return _by_folder(root, lambda kind: kind != "symbols/alphabets")  # 158 letters


def _clip_art() -> LabelledSet:
    root = _debian_files("openclipart-png") / "usr/share/openclipart/png"
    things = ("animals", "buildings", "food", "people", "plants", "recreation", "transportation")
    return _by_folder(root, lambda kind: kind.startswith(things))


def _by_folder(root: Path, wanted: Callable[[str], bool]) -> LabelledSet:
    """Embed the first pictures of each folder two levels down that has enough of them."""
    files = sorted(root.glob("*/*/**/*.png"))
    kinds = ["/".join(file.relative_to(root).parts[:2]) for file in files]
    n_kept: Counter[str] = Counter()
    paths, y = [], []
    n_files = Counter(kinds)
    for file, kind in zip(files, kinds, strict=True):
        if wanted(kind) and n_files[kind] >= FEWEST and n_kept[kind] < MOST:
            n_kept[kind] += 1
            paths.append(str(file))
            y.append(kind)
    return _embed(paths), np.array(y)


def _embed(paths: list[str]) -> NDArray[np.floating]:
    embed = DINOv2Transformer("offline", embedding_cache=BUILD / "embedding-cache")
    return embed.fit_transform(paths)


def _debian_files(package: str) -> Path:
    """Download and unpack a package into `build/`, unless it lies there whole."""
    folder = BUILD / "debian" / package
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            apt_get = shutil.which("apt-get") or "apt-get"
            command = [apt_get, "download", "-qq", package]
            subprocess.run(command, cwd=scratch, check=True, stderr=subprocess.DEVNULL)
            (archive,) = Path(scratch).glob("*.deb")
            subprocess.run(["dpkg-deb", "-x", archive, Path(scratch, "files")], check=True)
            Path(scratch, "files").rename(folder)
    return folder
