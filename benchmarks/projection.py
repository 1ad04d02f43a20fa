"""The map beside umap-learn, each side in a fresh process, in turns; and the page in a browser.

    python benchmarks/projection.py                 # about half an hour
    python benchmarks/projection.py transform page  # some parts
    python benchmarks/projection.py --quick         # a minute: that it runs; ours on both sides

Both sides get the same rows, cosine distance and seed 42. The rows are drawn: clusters of unequal
size, each on a surface of its own of few dimensions, with noise in all 384. As with embeddings of
images, a few directions hold most of the variance; here the share of the others falls more slowly.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _common import Table, machine
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import pairwise_distances
from sklearn.model_selection import train_test_split

from dinov2_sklearn import (
    DINOv2Transformer,
    ProjectionDisplay,
    list_images,
    make_demo_images,
    projection_report,
)

MODELS = {
    "ours": "from dinov2_sklearn import UMAPProjector\nmodel = UMAPProjector()",
    "peer": "import umap\nmodel = umap.UMAP(metric='cosine', random_state=42, n_jobs=1)",
}
# The clock of a fit runs from before the imports.
FIT = """
import sys, time
start = time.perf_counter()
import warnings; warnings.simplefilter("ignore")
import pickle
import numpy as np
rows = np.load(sys.argv[1])
{model}
model.fit(rows)
print(time.perf_counter() - start)
np.save(sys.argv[2], model.embedding_)
if len(sys.argv) > 3:
    with open(sys.argv[3], "wb") as file:
        pickle.dump(model, file)
"""
TRANSFORM = """
import sys, time, warnings; warnings.simplefilter("ignore")
import pickle
import numpy as np
rows = np.load(sys.argv[1])
with open(sys.argv[3], "rb") as file:
    model = pickle.load(file)
start = time.perf_counter()
model.transform(rows)
print(time.perf_counter() - start)
alone, ten, thousand = (model.transform(rows[:n])[0] for n in (1, 10, 1000))
print(max(abs(alone - ten).max(), abs(alone - thousand).max()))
"""


def main() -> None:
    parts: dict[str, Callable] = {
        "fit": fit,
        "transform": transform,
        "held-out": held_out,
        "page": page,
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *parts], help="default: all")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--rows", type=int, nargs="+", help="sizes of fit", metavar="N")
    arguments = parser.parse_args()
    if arguments.quick:
        MODELS["peer"] = MODELS["ours"]  # umap-learn takes most of a minute to compile
    print(machine(), flush=True)
    table = Table("work", "ratio", "ours", "peer")
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.parts or parts:
            options = {"sizes": arguments.rows} if name == "fit" and arguments.rows else {}
            parts[name](table, Path(scratch), arguments.quick, **options)


def draw_rows(n_rows: int, n_features: int = 384, n_clusters: int = 200) -> np.ndarray:
    """Draw clusters of unequal size, each around a piece of a surface of six dimensions."""
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.full(n_clusters, 0.5))
    clusters = rng.choice(n_clusters, n_rows, p=weights)
    scales = np.arange(1, n_features + 1) ** -0.6
    centers = rng.normal(size=(n_clusters, n_features))
    axes = rng.normal(size=(n_clusters, 6, n_features)) / np.sqrt(6)
    rows = np.empty((n_rows, n_features), dtype=np.float32)
    for cluster in range(n_clusters):
        of_cluster = clusters == cluster
        along = rng.normal(size=(of_cluster.sum(), 6))
        rows[of_cluster] = centers[cluster] + along @ axes[cluster]
    rows += 0.2 * rng.standard_normal(rows.shape, dtype=np.float32)
    return rows * scales.astype(np.float32)


def run(code: str, *arguments: Path) -> list[float]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(line) for line in printed.split()]


def fit(
    table: Table, scratch: Path, quick: bool, sizes: tuple[int, ...] = (20_000, 100_000)
) -> None:
    """Fit in fresh processes; judge both maps by the same measure."""
    for n_rows in (500,) if quick else sizes:
        rows = draw_rows(n_rows)
        np.save(scratch / "rows.npy", rows)
        times, reports = {}, {}
        for side, model in MODELS.items():
            (times[side],) = run(FIT.format(model=model), scratch / "rows.npy", scratch / "map.npy")
            reports[side] = projection_report(rows, np.load(scratch / "map.npy"))
        work = f"{n_rows:,} x 384, fresh process, seeded"
        table.add_ratio(work, [times["ours"]], [times["peer"]], "{:.1f} s".format)
        add_quality(table, work, *reports.values())


def add_quality(table: Table, work: str, ours: object, peer: object) -> None:
    """Add by how much ours is higher."""
    for attribute, name in (
        ("trustworthiness", "trustworthiness"),
        ("neighbor_recall", "neighbour recall"),
    ):
        mine, theirs = getattr(ours, attribute), getattr(peer, attribute)
        table.add(f"{work}: {name}", f"{mine - theirs:+.4f}", f"{mine:.4f}", f"{theirs:.4f}")


def transform(table: Table, scratch: Path, quick: bool) -> None:
    """Place new rows, first call after loading a pickle; compare the pickles too."""
    n_rows, n_new = (4, 1000) if quick else (10_000, 5000)
    rows = draw_rows(n_rows + n_new)
    np.save(scratch / "old.npy", rows[:n_rows])
    np.save(scratch / "new.npy", rows[n_rows:])
    times, moves, sizes = {}, {}, {}
    for side, model in MODELS.items():
        stored = scratch / f"{side}.pickle"
        run(FIT.format(model=model), scratch / "old.npy", scratch / "map.npy", stored)
        sizes[side] = stored.stat().st_size
        times[side], moves[side] = run(TRANSFORM, scratch / "new.npy", scratch / "map.npy", stored)
    work = f"transform of {n_new:,} new rows, map of {n_rows:,}, first call"
    table.add_ratio(work, [times["ours"]], [times["peer"]], "{:.2f} s".format)
    table.add(
        "the same row alone, among 10, among 1,000: largest difference",
        "",
        f"{moves['ours']:.2g}",
        f"{moves['peer']:.2g}",
    )
    table.add_ratio(
        f"pickle of {n_rows:,} x 384",
        [sizes["ours"]],
        [sizes["peer"]],
        lambda size: f"{size / 1e6:.1f} MB",
    )


def held_out(table: Table, scratch: Path, quick: bool) -> None:
    """Judge where held-out rows land among the fitted ones."""
    data = {"digits": load_digits().data[: 300 if quick else None] / 16}
    if not quick:
        images = list_images(make_demo_images(scratch / "images"))
        data["demo embeddings"] = DINOv2Transformer("offline").fit_transform(images)
    for name, rows in data.items():
        old, new = train_test_split(rows, test_size=0.3, random_state=0)
        qualities = []
        for model in map(make_model, MODELS.values()):
            points = model.fit_transform(old)
            qualities.append(judge_placement(old, new, points, model.transform(new)))
        for measure, mine, theirs in zip(
            ("trustworthiness", "neighbour recall"), *qualities, strict=True
        ):
            work = f"held-out 30% of {name}: {measure}"
            table.add(work, f"{mine - theirs:+.4f}", f"{mine:.4f}", f"{theirs:.4f}")


def make_model(code: str) -> object:
    namespace: dict = {}
    exec(code, namespace)
    return namespace["model"]


def judge_placement(
    old: np.ndarray, new: np.ndarray, old_points: np.ndarray, new_points: np.ndarray, k: int = 15
) -> tuple[float, float]:
    """Trustworthiness and recall of new rows' neighbours among the old rows."""
    ranks = pairwise_distances(new, old, metric="cosine").argsort(axis=1).argsort(axis=1) + 1
    on_map = pairwise_distances(new_points, old_points).argsort(axis=1)[:, :k]
    ranks = np.take_along_axis(ranks, on_map, axis=1)
    worst = len(new) * k * (2 * len(old) - 3 * k - 1) / 2
    return 1 - np.maximum(ranks - k, 0).sum() / worst, (ranks <= k).mean()


def page(table: Table, scratch: Path, quick: bool) -> None:
    """Write pages and open them: ours only, nothing else writes such pages."""
    rng = np.random.default_rng(0)
    n_images, n_points = (50, 3000) if quick else (10_000, 100_000)
    paths = crop_images(scratch, n_images)
    file = scratch / "map.html"
    display = ProjectionDisplay(rng.normal(size=(n_images, 2)), labels=np.arange(n_images) % 100)
    display.write_html(file, paths, thumbnails="sprites", thumbnail_size=64)
    table.add(f"page for {n_images:,} images, thumbnails of 64 px", "", *weigh(file))
    names = [f"photos/camera{i % 97:02d}/IMG_{i:07d}.jpg" for i in range(n_points)]
    display = ProjectionDisplay(rng.normal(size=(n_points, 2)), labels=np.arange(n_points) % 100)
    display.write_html(file, names)
    table.add(f"page for {n_points:,} points, no thumbnails", "", *weigh(file))


def crop_images(scratch: Path, n_images: int) -> list[Path]:
    """Cut pictures of 160 x 120 pixels out of real photographs."""
    rng = np.random.default_rng(0)
    photographs = [
        Image.open(p).convert("RGB") for p in list_images(make_demo_images(scratch / "photos"))
    ]
    (scratch / "crops").mkdir()
    paths = [scratch / "crops" / f"{i:05d}.jpg" for i in range(n_images)]
    for i, path in enumerate(paths):
        photograph = photographs[i % len(photographs)]
        left, top = (int(rng.integers(0, side - 119)) for side in photograph.size)
        photograph.crop((left, top, left + 120, top + 120)).save(path)
    return paths


def weigh(file: Path, n_rounds: int = 3) -> list[str]:
    """Say a page's size, and how long Chromium takes until it can be used."""
    size = f"{file.stat().st_size / 1e6:.1f} MB"
    chromium = shutil.which("chromium")
    if chromium is None:
        return [f"{size}; no chromium to open it"]
    from playwright.sync_api import sync_playwright

    times = []
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        for _ in range(n_rounds):
            tab = browser.new_page(viewport={"width": 1280, "height": 800})
            tab.goto(file.as_uri())
            tab.wait_for_selector("html[data-ready]", state="attached", timeout=120_000)
            times.append(float(tab.get_attribute("html", "data-ready")) / 1000)
            tab.close()
        browser.close()
    return [f"{size}, interactive in {np.median(times):.1f} s"]


if __name__ == "__main__":
    main()
