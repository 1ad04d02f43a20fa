"""The map beside umap-learn and other makers of maps, and the page in a browser.

    python benchmarks/projection.py                 # about half an hour
    python benchmarks/projection.py --part fit      # or peers, transform, held-out, page
    python benchmarks/projection.py --part large    # 300,000 rows: ours, and umap-learn seeded
    python benchmarks/projection.py --part million  # 1,000,000 rows: ours, and its memory
    python benchmarks/projection.py --quick         # a minute: that it runs; ours on both sides

Each fit has a fresh process, whose imports count. umap-learn is the one of the extra "bench". Both
sides get the same rows, cosine distance and seed 42; umap-learn fits without a seed too, which lets
it use all cores. Other peers have environments of their own, and their imports do not count.

The rows are drawn: clusters of unequal size, each on a surface of its own of few dimensions, with
noise in all 384. As with embeddings of images, a few directions hold most of the variance; here the
share of the others falls more slowly.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from _common import Goal, Results, Table, at_least, at_most, run_parts
from _peers import have_peer, run_peer
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
from dinov2_sklearn.projection import ProjectionReport

MODELS = {
    "ours": "from dinov2_sklearn import UMAPProjector\nmodel = UMAPProjector()",
    "peer": "import umap\nmodel = umap.UMAP(metric='cosine', random_state=42, n_jobs=1)",
}
QUALITY = {
    "trustworthiness": at_least(-0.005),
    "neighbour recall": at_least(-0.02),
    "triplet accuracy": None,
}
UNSEEDED = "import umap\nmodel = umap.UMAP(metric='cosine')"
# The clock of a fit runs from before the imports; its memory, in GB, is that beside the rows.
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
from _common import peak_memory
print(peak_memory() / 1e3 - rows.nbytes / 1e9)
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
    printed = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=Path(__file__).parent
    ).stdout
    return [float(line) for line in printed.split()]


def fit_anew(model: str, rows: np.ndarray) -> tuple[float, float, ProjectionReport]:
    """Fit in a fresh process: seconds, GB beside the rows, and how good the map is."""
    with TemporaryDirectory() as scratch:
        data, points = Path(scratch, "rows.npy"), Path(scratch, "map.npy")
        np.save(data, rows)
        duration, memory = run(FIT.format(model=model), data, points)
        return duration, memory, projection_report(rows, np.load(points))


def fit(quick: bool) -> None:
    """Fit in fresh processes; judge both maps by the same measure."""
    table = Results()
    for n_rows in (500,) if quick else (20_000, 100_000):
        compare_fit(table, n_rows, None if quick else at_least(6), unseeded=not quick)


def large(quick: bool) -> None:
    """Fit as many rows as umap-learn needs some ten minutes for."""
    table = Results()
    compare_fit(table, 500 if quick else 300_000, None if quick else at_least(6))


def compare_fit(table: Results, n_rows: int, goal: Goal | None, unseeded: bool = False) -> None:
    rows = draw_rows(n_rows)
    work = f"{n_rows:,} x 384, fresh process, seeded"
    (ours, _, report), (peer, _, peers_report) = (
        fit_anew(model, rows) for model in MODELS.values()
    )
    table.ratio(work, [ours], [peer], "{:.1f} s".format, goal)
    add_quality(table, work, measures_of(report), measures_of(peers_report))
    if unseeded:
        work = f"{n_rows:,} x 384, fresh process, umap-learn without a seed, on all cores"
        table.ratio(work, [ours], [fit_anew(UNSEEDED, rows)[0]], "{:.1f} s".format)


def million(quick: bool) -> None:
    """Fit what umap-learn would need an hour for: ours alone."""
    table = Results()
    rows = draw_rows(1000 if quick else 1_000_000)
    duration, memory, report = fit_anew(MODELS["ours"], rows)
    work = f"{len(rows):,} x 384, fresh process, seeded"
    table.value(work, duration, "{:.0f} s".format, None if quick else at_most(300))
    table.value(f"{work}: memory beside the rows", memory, "{:.1f} GB".format, at_most(8))
    for name, measure in zip(QUALITY, measures_of(report), strict=True):
        table.value(f"{work}: {name}", measure, "{:.4f}".format)


def peers(quick: bool) -> None:
    """Lay the same rows out by others, each as its authors would."""
    table = Table("map of", "by", "seconds", *QUALITY, "note")
    rows = draw_rows(500 if quick else 20_000)

    def add(name: str, duration: float, report: ProjectionReport, note: str = "") -> None:
        shown = (f"{measure:.4f}" for measure in measures_of(report))
        table.add(f"{len(rows):,} x 384", name, f"{duration:.1f}", *shown, note)

    duration, _, report = fit_anew(MODELS["ours"], rows)
    add("ours", duration, report)
    for name in ("opentsne", "pacmap", "fastumap", "umappp"):
        if quick and not have_peer(name):
            continue
        made = run_peer(name, "lay_out", X=rows, n_runs=1)
        add(name, made.times[0], projection_report(rows, made.result), made.versions)


def measures_of(report: ProjectionReport) -> tuple[float, ...]:
    return report.trustworthiness, report.neighbor_recall, report.triplet_accuracy


def add_quality(
    table: Results, work: str, ours: tuple[float, ...], peer: tuple[float, ...]
) -> None:
    """Add by how much ours is higher, in as many measures as are given."""
    for (measure, goal), mine, theirs in zip(QUALITY.items(), ours, peer, strict=False):
        shown = {"ours": f"{mine:.4f}", "peer": f"{theirs:.4f}"}
        work_ = f"{work}: {measure}, ours less umap-learn's"
        table.value(work_, mine - theirs, "{:+.4f}".format, goal, **shown)


def transform(quick: bool) -> None:
    """Place new rows, first call after loading a pickle; compare the pickles too."""
    table = Results()
    n_rows, n_new, n_rounds = (4, 1000, 1) if quick else (10_000, 5000, 3)
    rows = draw_rows(n_rows + n_new)
    times: dict[str, list[float]] = {side: [] for side in MODELS}
    moves, sizes = {}, {}
    with TemporaryDirectory() as scratch:
        old, new, points = (Path(scratch, name) for name in ("old.npy", "new.npy", "map.npy"))
        np.save(old, rows[:n_rows])
        np.save(new, rows[n_rows:])
        stored = {side: Path(scratch, f"{side}.pickle") for side in MODELS}
        for side, model in MODELS.items():
            run(FIT.format(model=model), old, points, stored[side])
            sizes[side] = stored[side].stat().st_size / 1e6
        for _ in range(n_rounds):
            for side in MODELS:
                duration, moves[side] = run(TRANSFORM, new, points, stored[side])
                times[side].append(duration)
    work = f"transform of {n_new:,} new rows, map of {n_rows:,}, first call: umap-learn"
    table.ratio(work, *times.values(), "{:.2f} s".format, None if quick else at_least(5))
    work = "the same row alone, among 10, among 1,000: largest difference"
    scientific = "{:.2g}".format
    shown = {"ours": scientific(moves["ours"]), "peer": scientific(moves["peer"])}
    table.value(work, moves["ours"], scientific, at_most(1e-4), **shown)
    work = f"pickle of {n_rows:,} x 384: umap-learn"
    megabytes = "{:.1f} MB".format
    table.ratio(work, [sizes["ours"]], [sizes["peer"]], megabytes, None if quick else at_least(5))


def held_out(quick: bool) -> None:
    """Judge where held-out rows land among the fitted ones."""
    table = Results()
    data = {"digits": load_digits().data[: 300 if quick else None] / 16}
    if not quick:
        with TemporaryDirectory() as scratch:
            images = list_images(make_demo_images(scratch))
            data["demo embeddings"] = DINOv2Transformer("offline").fit_transform(images)
    for name, rows in data.items():
        old, new = train_test_split(rows, test_size=0.3, random_state=0)
        qualities = []
        for model in map(make_model, MODELS.values()):
            points = model.fit_transform(old)
            qualities.append(judge_placement(old, new, points, model.transform(new)))
        add_quality(table, f"held-out 30% of {name}", *qualities)


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


def page(quick: bool) -> None:
    """Write pages and open them: ours only, nothing else writes such pages."""
    table = Results()
    rng = np.random.default_rng(0)
    n_images, n_points = (50, 3000) if quick else (10_000, 100_000)
    with TemporaryDirectory() as folder:
        file = Path(folder, "map.html")
        draw = partial(ProjectionDisplay, rng.normal(size=(n_images, 2)))
        paths = crop_images(Path(folder), n_images)
        draw(labels=np.arange(n_images) % 100).write_html(
            file, paths, thumbnails="sprites", thumbnail_size=64
        )
        add_page(table, f"page for {n_images:,} images, thumbnails of 64 px", file, 16, 3)
        names = [f"photos/camera{i % 97:02d}/IMG_{i:07d}.jpg" for i in range(n_points)]
        draw = partial(ProjectionDisplay, rng.normal(size=(n_points, 2)))
        scores = {"score": rng.random(n_points)}
        draw(labels=np.arange(n_points) % 100).write_html(file, names, columns=scores)
        add_page(table, f"page for {n_points:,} points, no thumbnails", file, 10, 5)
        add_answers(table, f"page for {n_points:,} points", file)


def add_page(table: Results, work: str, file: Path, most_mb: float, most_seconds: float) -> None:
    size = file.stat().st_size / 1e6
    table.value(work, size, "{:.1f} MB".format, at_most(most_mb))
    chromium = shutil.which("chromium")
    if chromium is None:
        table.add(f"{work}, until it can be used", "", "", "", "", "no chromium to open it")
        return
    if find_spec("playwright") is None:
        table.add(f"{work}, until it can be used", "", "", "", "", "no playwright to open it")
        return
    wait = float(np.median(open_page(file, chromium)))
    table.value(f"{work}, until it can be used", wait, "{:.1f} s".format, at_most(most_seconds))


# Tells how long it takes from an event until what it changed is painted.
WATCH = """kind => addEventListener(kind, () => {
  const start = performance.now(), told = window.answers ??= [];
  requestAnimationFrame(() => setTimeout(() => told.push(performance.now() - start)));
}, true)"""


def add_answers(table: Results, work: str, file: Path) -> None:
    """Draw lassos around more and more points, and move the handle of a filter."""
    chromium = shutil.which("chromium")
    if chromium is None or find_spec("playwright") is None:
        return
    with opened_tab(chromium) as tab:
        visit(tab, file)
        box = tab.locator("#stage").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        tab.click("#tools [data-tool=lasso]")
        tab.evaluate(WATCH, "pointerup")
        for radius in np.linspace(60, 300, 9):
            tab.mouse.move(x + radius, y)
            tab.mouse.down()
            for angle in np.arange(0, 6, 0.1):
                tab.mouse.move(x + radius * np.cos(angle), y + radius * np.sin(angle))
            tab.mouse.up()
            tab.wait_for_timeout(400)
        lassos = tab.evaluate("window.answers.splice(0)")
        tab.keyboard.press("Escape")
        tab.evaluate(WATCH, "input")
        tab.locator("#legend h2 button", has_text="score").first.click()
        tab.wait_for_timeout(400)
        tab.evaluate("window.answers.splice(0)")
        for value in range(40, 360, 40):
            tab.locator("#legend input[type=range]").first.fill(str(value))
            tab.wait_for_timeout(400)
        filters = tab.evaluate("window.answers.splice(0)")
    for what, times in (("lasso", lassos), ("filter", filters)):
        shown = f"{min(times):.0f} to {max(times):.0f} ms"
        median = float(np.median(times))
        table.value(
            f"{work}: a {what}'s answer", median, "{:.0f} ms".format, at_most(100), note=shown
        )


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


def open_page(file: Path, chromium: str, n_rounds: int = 3) -> list[float]:
    """Seconds until the page says that it is ready, in headless Chromium."""
    times = []
    for _ in range(n_rounds):
        with opened_tab(chromium) as tab:
            times.append(visit(tab, file))
    return times


@contextmanager
def opened_tab(chromium: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1280, "height": 800})
        browser.close()


def visit(tab: Any, file: Path) -> float:
    """Open a page; return the seconds that it took by its own count."""
    tab.goto(file.as_uri())
    tab.wait_for_selector("html[data-ready]", state="attached", timeout=120_000)
    return float(tab.get_attribute("html", "data-ready")) / 1000


LONG_PARTS = {"large": large, "million": million}
PARTS = {"fit": fit, "peers": peers, "transform": transform, "held-out": held_out, "page": page}

if __name__ == "__main__":
    if "--quick" in sys.argv:
        MODELS["peer"] = MODELS["ours"]  # umap-learn takes most of a minute to compile
    run_parts(__file__, __doc__, PARTS, LONG_PARTS)
