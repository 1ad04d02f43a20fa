"""What docs/scale.md counts on: extraction with Ray, decoding alone, selection in two levels.

    python benchmarks/ray_extraction.py                     # everything, some ten minutes
    python benchmarks/ray_extraction.py --part overhead     # or decoding, two-levels
    python benchmarks/ray_extraction.py --quick             # that it runs, not what it shows

Overhead: ours is `extract_with_ray` with an actor of one thread for each core; the peer is
`DINOv2Transformer.transform` in one process with all of them, in turns. A run of few images shows
what it costs to start actors, and the difference between a long and a short run what an image
costs. Weights: "offline".
"""

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import ray
import torch
from _common import Results, alternate, at_most, run_parts
from PIL import Image
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics import pairwise_distances_argmin_min

from dinov2_sklearn import (
    DINOv2Transformer,
    DiversitySampler,
    extract_with_ray,
    list_images,
    open_shards,
)
from dinov2_sklearn.images._reading import ImageReader


def noise(folder: Path, n_images: int, width: int) -> list[str]:
    folder.mkdir()
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (n_images, 30, 40, 3), dtype=np.uint8)
    for i, pixels in enumerate(small):
        picture = Image.fromarray(pixels).resize((width, width * 3 // 4))
        picture.save(folder / f"{i:05}.jpg", quality=90)
    return [*list_images(folder)]


def overhead(quick: bool) -> None:
    with TemporaryDirectory() as scratch:
        compare_with_one_process(Results(), Path(scratch), quick)


def compare_with_one_process(table: Results, scratch: Path, quick: bool) -> None:
    n = 1 if quick else len(os.sched_getaffinity(0))
    torch.set_num_threads(n)
    ray.init(num_cpus=n, include_dashboard=False, log_to_driver=False)
    paths = noise(scratch / "images", 12 if quick else 150 * n, 400)
    few, folders = paths[: len(paths) // 4], []
    embed = DINOv2Transformer("offline", dtype="float32")

    def with_ray(some: list[str]) -> None:
        folders.append(scratch / f"shards{len(folders)}")
        shard_size = max(1, len(few) // (4 * n))
        extract_with_ray(
            some, folders[-1], embed, concurrency=n, shard_size=shard_size, verbose=False
        )

    times = alternate(
        {
            "ray, few": lambda: with_ray(few),
            "ray": lambda: with_ray(paths),
            "one, few": lambda: embed.transform(few),
            "one": lambda: embed.transform(paths),
        },
        n_rounds=1 if quick else 2,
    )
    for few_or_not, n_images in (("", len(paths)), (", few", len(few))):
        table.ratio(
            f"{n_images} images, {n} actors of a thread each: one process with {n} threads",
            times["ray" + few_or_not],
            times["one" + few_or_not],
            "{:.1f} s".format,
        )
    compare_rates(table, times, len(paths), len(few))
    rows = open_shards(folders[-1]).embeddings
    difference = float(np.abs(rows - embed.transform(paths)).max())
    table.value("largest difference of a number", difference, "{:.1e}".format, at_most(1e-5))
    ray.shutdown()


def compare_rates(table: Results, times: dict[str, list[float]], many: int, few: int) -> None:
    """Compare what an image costs: the difference between a long run and a short one."""
    ours, peer = (
        (many - few) / (np.median(times[name]) - np.median(times[f"{name}, few"]))
        for name in ("ray", "one")
    )
    shown = {"ours": f"{ours:.1f} img/s", "peer": f"{peer:.1f} img/s"}
    table.value("rate once the actors have started", ours / peer, "{:.2f} x".format, **shown)
    table.value("start of the actors", np.median(times["ray, few"]) - few / ours, "{:.1f} s".format)


def decoding(quick: bool) -> None:
    """Time what a task does that decodes for actors with a GPU."""
    table = Results()
    recipe = DINOv2Transformer("offline", device="cpu")._extraction().recipe
    reader = ImageReader(recipe.preprocessings, exact_decode=recipe.exact_decode)
    for width, n_images in ((400, 64), (4000, 16)):
        with TemporaryDirectory() as scratch:
            paths = noise(Path(scratch, "images"), 2 if quick else n_images, width)
            # The time of the processor: what a core does that has nothing else to do.
            start = time.process_time()
            for path in paths:
                reader.pictures(path)
            rate = len(paths) / (time.process_time() - start)
        work = f"decoding alone, one core, JPEGs of {width} x {width * 3 // 4}"
        table.value(work, rate, "{:.0f} img/s".format)


def two_levels(quick: bool) -> None:
    """Compare farthest points of candidates from each part of the rows with those of all rows."""
    table = Results()
    n, n_picks, n_parts = (2000, 20, 4) if quick else (200_000, 1000, 16)
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(640, 64)).astype(np.float32)
    X = centers[rng.zipf(1.5, n) % len(centers)] + 0.3 * rng.normal(size=(n, 64)).astype(np.float32)
    exact = radius(X, fps(X, n_picks))
    kmeans = MiniBatchKMeans(n_parts, random_state=0, n_init=1).fit(X[::10])
    for title, part_of in (
        ("k-means clusters", kmeans.predict(X)),
        ("parts as they come", np.arange(n) * n_parts // n),
    ):
        parts = [np.flatnonzero(part_of == part) for part in range(n_parts)]
        for n_candidates in (4 * n_picks // n_parts, n_picks):
            ratio = radius(X, farthest_in_two_levels(X, n_picks, parts, n_candidates)) / exact
            work = f"{n_picks} of {n:,} by way of {n_candidates} in each of {n_parts} {title}"
            table.value(f"covering radius: {work} / at once", ratio, "{:.3f} x".format)


def farthest_in_two_levels(
    X: np.ndarray, n_picks: int, parts: list[np.ndarray], n_candidates: int
) -> np.ndarray:
    """Choose candidates in each part by itself, as different machines can, then among them."""
    candidates = [rows[fps(X[rows], min(n_candidates, len(rows)))] for rows in parts if len(rows)]
    rows = np.concatenate(candidates)
    return rows[fps(X[rows], n_picks)]


def fps(X: np.ndarray, n_picks: int) -> np.ndarray:
    return DiversitySampler(n_picks, strategy="fps").select(X)


def radius(X: np.ndarray, picks: np.ndarray) -> float:
    return float(pairwise_distances_argmin_min(X, X[picks])[1].max())


PARTS = {"overhead": overhead, "decoding": decoding, "two-levels": two_levels}

if __name__ == "__main__":
    run_parts(__file__, __doc__, PARTS)
