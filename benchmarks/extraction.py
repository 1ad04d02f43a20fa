"""Extraction beside what a user would otherwise run, both sides in one process, in turns.

    python benchmarks/extraction.py                      # everything, about ten minutes
    python benchmarks/extraction.py --part forward       # or throughput, fidelity, caching, memory,
                                                         # boxes, exports
    python benchmarks/extraction.py --quick              # a minute: that it runs, not what it shows

Peers: transformers' own pipeline, the loop over a torch DataLoader that most people write, the same
as one who knows Pillow and torch writes it, and the bare forward pass of transformers' model on
tensors that are ready. Weights: "offline".
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from _common import Results, alternate, at_least, at_most, repeated, run_parts, seconds
from _peers import have_peer, run_peer
from PIL import Image
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from torch.nn.functional import scaled_dot_product_attention

from dinov2_sklearn import (
    DINOv2Transformer,
    DiversitySampler,
    EmbeddingCache,
    list_images,
    make_demo_images,
)
from dinov2_sklearn.backbone import find_checkpoint
from dinov2_sklearn.backbone._loading import resolve_device, resolve_dtype
from dinov2_sklearn.backbone._plan import multiplied
from dinov2_sklearn.extraction._embedder import _Forward
from dinov2_sklearn.images import ImageReader
from dinov2_sklearn.selection import write_selection

SMALL, BIG = "small images", "12-megapixel JPEGs"


def images(folder: Path, quick: bool) -> dict[str, list[str]]:
    small = [str(path) for path in make_images(folder / "small", 4 if quick else 64)]
    return {SMALL: small, BIG: enlarge(small[: 2 if quick else 32], folder / "big")}


def make_images(folder: Path, n_images: int) -> list[Path]:
    """Real pictures of 400 x 400 pixels, saved as JPEG and PNG in turns."""
    scenes = list_images(make_demo_images(folder / "scenes"))
    paths = []
    for i, scene in enumerate(scenes[np.linspace(0, len(scenes) - 1, n_images).astype(int)]):
        paths.append(folder / f"{i:03}.{'png' if i % 2 else 'jpg'}")
        Image.open(scene).convert("RGB").save(paths[-1])
    return paths


def enlarge(paths: list[str], folder: Path) -> list[str]:
    """Make camera pictures of 12 megapixels, with a sensor's noise, of small ones."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    enlarged = []
    for i, path in enumerate(paths):
        pixels = np.asarray(Image.open(path).convert("RGB").resize((4000, 3000)), dtype=np.int16)
        noisy = (pixels + rng.integers(-12, 13, pixels.shape, dtype=np.int16)).clip(0, 255)
        enlarged.append(str(folder / f"{i:03}.jpg"))
        Image.fromarray(noisy.astype(np.uint8)).save(enlarged[-1], quality=90)
    return enlarged


def throughput(quick: bool) -> None:
    table = Results()
    with TemporaryDirectory() as folder:
        for name, paths in images(Path(folder), quick).items():
            compare_throughput(table, name, paths, n_rounds=1 if quick else 3)


def compare_throughput(table: Results, name: str, paths: list[str], n_rounds: int) -> None:
    ours = DINOv2Transformer("offline")
    two = DINOv2Transformer("offline", device=["cpu", "cpu"])
    n, best = len(paths), best_batch_size(paths)
    dtype = resolve_dtype("auto", resolve_device("auto"))
    workers = best_workers(paths, dtype)
    pipeline, drafted = "transformers pipeline", "a DataLoader loop with draft"
    notes = {
        pipeline: f"batch {best}, the best of 1, 8, 32; float32",
        drafted: f"{workers} workers, the better of 0 and 2; {dtype}".replace("torch.", ""),
    }
    peers = {
        pipeline: lambda: transformers_pipeline(paths, best),
        "a DataLoader loop, batch 32": lambda: dataloader_loop(paths),
        drafted: lambda: dataloader_loop(paths, draft=True, workers=workers, dtype=dtype),
        "ours as two processes, start included": lambda: two.transform(paths),
    }
    goals = {pipeline: at_least(3 if name == SMALL else 6)}
    times = alternate({"ours": lambda: ours.transform(paths), **peers}, n_rounds)
    for peer in peers:
        table.ratio(
            f"{name}: {peer}",
            times["ours"],
            times[peer],
            lambda duration: f"{n / duration:.1f} img/s",
            goals.get(peer),
            note=notes.get(peer, ""),
        )


def best_batch_size(paths: list[str]) -> int:
    return min((1, 8, 32), key=lambda size: seconds(lambda: transformers_pipeline(paths, size)))


def best_workers(paths: list[str], dtype: torch.dtype) -> int:
    def duration(workers: int) -> float:
        return seconds(lambda: dataloader_loop(paths, draft=True, workers=workers, dtype=dtype))

    return min((0, 2), key=duration)


@cache
def transformers_model(dtype: torch.dtype = torch.float32) -> tuple:
    from transformers import AutoModel
    from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

    folder = find_checkpoint("offline").folder
    model = AutoModel.from_pretrained(folder, dtype=dtype).to(resolve_device("auto")).eval()
    return model, BitImageProcessorPil.from_pretrained(folder)


def transformers_pipeline(paths: list[str], batch_size: int) -> None:
    from transformers import pipeline

    model, processor = transformers_model()
    embed = pipeline(
        "image-feature-extraction", model=model, image_processor=processor, device=model.device
    )
    embed(paths, batch_size=batch_size)


def dataloader_loop(
    paths: list[str],
    *,
    draft: bool = False,
    workers: int = 0,
    dtype: torch.dtype = torch.float32,
) -> np.ndarray:
    """Embed as people do by hand: a DataLoader, batches of 32.

    With ``draft``, Pillow decodes large JPEGs at a fraction of their size, no less than 512 pixels.
    """
    model, processor = transformers_model(dtype)

    def load(path: str) -> torch.Tensor:
        image = Image.open(path)
        if draft:
            image.draft("RGB", (512, 512))
        return processor(image.convert("RGB"), return_tensors="pt")["pixel_values"][0]

    loader = torch.utils.data.DataLoader(
        paths, batch_size=32, collate_fn=lambda p: [*map(load, p)], num_workers=workers
    )
    with torch.inference_mode():
        rows = [
            model(torch.stack(b).to(model.device, dtype)).last_hidden_state[:, 0].float().cpu()
            for b in loader
        ]
    return torch.cat(rows).numpy()


def forward(quick: bool) -> None:
    """Compare files to rows with the forward pass alone, and with the least that all takes."""
    table = Results()
    n_rounds = 1 if quick else 5
    native = resolve_dtype("auto", torch.device("cpu"))
    with TemporaryDirectory() as folder:
        sets = images(Path(folder), quick)
        for dtype in dict.fromkeys((native, torch.float32)):
            compare_bare(table, sets[SMALL], dtype, n_rounds)
        compare_least(table, sets[BIG], native, n_rounds)
        compare_attention(table, native, n_rounds)


def compare_bare(table: Results, paths: list[str], dtype: torch.dtype, n_rounds: int) -> None:
    n, named = len(paths), str(dtype).removeprefix("torch.")
    ours = DINOv2Transformer("offline", dtype=named, device="cpu")
    works: dict = {"ours": lambda: ours.transform(paths)}
    works |= {f"batch {size}": partial(bare_forward, n, size, dtype) for size in (4, 32)}
    times = alternate(works, n_rounds)
    goal = at_least(1.15 if dtype == torch.bfloat16 else 1.05)
    for peer in (4, 32):
        table.ratio(
            f"{SMALL}, {named}: the bare forward on ready tensors, batch {peer}",
            times["ours"],
            times[f"batch {peer}"],
            lambda duration: f"{n / duration:.1f} img/s",
            goal,
        )


def bare_forward(n_images: int, batch_size: int, dtype: torch.dtype) -> None:
    model, _ = transformers_model(dtype)
    pixels = torch.zeros(n_images, 3, 224, 224, dtype=dtype, device=model.device)
    with torch.inference_mode():
        for batch in pixels.split(batch_size):
            model(batch).last_hidden_state[:, 0].float().cpu()


def compare_least(table: Results, paths: list[str], dtype: torch.dtype, n_rounds: int) -> None:
    """Compare with cores that decode and compute without pause: the sum of what must be done."""
    embed = DINOv2Transformer("offline", dtype=str(dtype).removeprefix("torch."), device="cpu")
    recipe, n_cores = embed._extraction().recipe, torch.get_num_threads()
    reader = ImageReader(recipe.preprocessings, exact_decode=False)
    pictures = [reader.pictures(path) for path in paths]
    compute = _Forward(recipe, torch.device("cpu"), 32)
    works = {
        "ours": lambda: embed.transform(paths),
        "decoding": lambda: [*map(reader.pictures, paths)],
        "computing": lambda: compute(pictures),
    }
    times = alternate(works, n_rounds)
    both = zip(times["decoding"], times["computing"], strict=True)
    least = [decoding / n_cores + computing for decoding, computing in both]
    cost, n = median(times["decoding"]) / len(paths), len(paths)
    table.ratio(
        f"{BIG}: cores / (decoding + forward, in core-seconds)",
        times["ours"],
        least,
        lambda duration: f"{n / duration:.1f} img/s",
        at_least(0.92),
        note=f"{n_cores} cores, {1000 * cost:.0f} ms to decode an image",
    )


def compare_attention(table: Results, native: torch.dtype, n_rounds: int) -> None:
    """Compare the two ways of attention that the forward plan chooses from."""
    for dtype in dict.fromkeys((native, torch.float32)):
        for n_tokens in (257, 1025):
            parts = torch.randn(3, 8, n_tokens, 6, 64).to(dtype).transpose(2, 3)
            query, key, value = parts
            times = alternate(
                {
                    "products": lambda q=query, k=key, v=value: multiplied(q, k, v, 0.125),
                    "kernel": lambda q=query, k=key, v=value: scaled_dot_product_attention(q, k, v),
                },
                4 * n_rounds,
            )
            table.ratio(
                f"attention of {n_tokens} tokens, {dtype}: torch's kernel / products and softmax",
                times["products"],
                times["kernel"],
                lambda duration: f"{1000 * duration / 8:.2f} ms/img",
            )


def fidelity(quick: bool) -> None:
    table = Results()
    exact = DINOv2Transformer("offline", dtype="float32", exact_decode=True)
    with TemporaryDirectory() as folder:
        for name, paths in images(Path(folder), quick).items():
            plain = dataloader_loop(paths)
            for title, ours, goal in (
                ("float32 with exact_decode=True", exact, at_least(0.99999)),
                ("defaults", DINOv2Transformer("offline"), at_least(0.999)),
            ):
                lowest = float(cosine(ours.transform(paths), plain).min())
                work = f"{name}: {title}, lowest cosine to plain transformers"
                table.value(work, lowest, "{:.6f}".format, goal)


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def noise(folder: Path, n_images: int) -> list[str]:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(n_images):
        pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:05}.png")
    return [*list_images(folder)]


def caching(quick: bool) -> None:
    table = Results()
    with TemporaryDirectory() as folder:
        scratch, n_images = Path(folder), 20 if quick else 2000
        paths = noise(scratch / "cached", n_images)
        embed = DINOv2Transformer("offline", embedding_cache=scratch / "cache")
        first = seconds(lambda: embed.transform(paths))
        again = repeated(lambda: embed.transform(paths))
        work = f"{n_images:,} images a second time with the cache: the first time"
        table.ratio(work, again, [first], "{:.2f} s".format, None if quick else at_least(100))
        some = paths[: min(300, n_images)]
        n_embedded = search(some, embed.set_params(embedding_cache=scratch / "searched"))
        work = f"GridSearchCV, 12 candidates x 5 folds, {len(some)} images: images embedded"
        table.value(work, n_embedded, goal=at_most(len(some)))


def search(paths: list[str], embed: DINOv2Transformer) -> int:
    """Search over a whole pipeline; return how many images were not found in the cache."""
    pipe = Pipeline([("embed", embed), ("select", DiversitySampler(n_samples=3))])
    grid = {
        "select__strategy": ["random", "cluster", "fps", "hybrid"],
        "select__n_samples": [2, 3, 4],
    }
    GridSearchCV(pipe, grid, cv=5).fit(paths)
    return EmbeddingCache(embed.embedding_cache).info().misses


PEAK = """
from _common import peak_memory
from dinov2_sklearn import DINOv2Transformer, extract_to_shards, list_images
embed = DINOv2Transformer("offline", image_size=28)
extract_to_shards(list_images({images!r}), {folder!r}, embed, verbose=False)
print(peak_memory())
"""


def memory(quick: bool) -> None:
    """Compare peak memory; the images are seen at 28 pixels, where the model is quick."""
    few, many = (20, 60) if quick else (2000, 20_000)
    with TemporaryDirectory() as folder:
        peaks = [peak_of_shards(Path(folder), n_images) for n_images in (few, many)]
    work = f"peak memory, {many:,} images through shards, beyond that of {few:,}"
    shown = {"ours": f"{peaks[1]:.0f} MB", "peer": f"{peaks[0]:.0f} MB"}
    excess = 100 * (peaks[1] / peaks[0] - 1)
    Results().value(work, excess, "{:+.1f}%".format, at_most(5), **shown)


def peak_of_shards(scratch: Path, n_images: int) -> float:
    """Peak memory, in MB, of a process that embeds so many links to one image."""
    (pixels,) = noise(scratch / f"pixels{n_images}", 1)
    images, folder = scratch / f"links{n_images}", scratch / f"shards{n_images}"
    images.mkdir()
    for i in range(n_images):
        (images / f"{i}.png").symlink_to(pixels)
    code = PEAK.format(images=str(images), folder=str(folder))
    command = [sys.executable, "-c", code]
    here = Path(__file__).parent  # of _common
    run = subprocess.run(command, check=True, capture_output=True, cwd=here)
    return float(run.stdout)


def boxes(quick: bool) -> None:
    """Embed ten boxes an image beside the images whole, which is what decoding them takes.

    They are seen at 28 pixels, where the model is quick, and decoded at full size on both sides.
    """
    table = Results()
    n_images, n_boxes = (3, 5) if quick else (1000, 10)
    embed = DINOv2Transformer("offline", image_size=28, exact_decode=True, device="cpu")
    recipe = embed._extraction().recipe
    compute = _Forward(recipe, torch.device("cpu"), 32)
    with TemporaryDirectory() as folder:
        paths = copies(noisy(Path(folder), 3), Path(folder, "images"), n_images)
        places = [f"{9 * i},{7 * i},{10 + i},{12 + i}" for i in range(n_boxes)]
        crops = [f"{path}#xywh=percent:{place}" for path in paths for place in places]
        with opened() as counts:
            embed.transform(crops)
        work = f"{len(crops):,} boxes of {n_images:,} images of 2 megapixels"
        most = max(counts[path] for path in paths)
        table.value(f"{work}: how often a file is opened", most, goal=at_most(1))
        reader = ImageReader(recipe.preprocessings, exact_decode=True)
        ready = [reader.pictures(crop) for crop in crops[:n_boxes]] * n_images
        batches = [ready[i : i + 32] for i in range(n_images, len(crops), 32)]
        works = {
            "boxes": lambda: embed.transform(crops),
            "images": lambda: embed.transform(paths),
            "computing": lambda: [*map(compute, batches)],
        }
        times = alternate(works, 1 if quick else 3)
    least = [sum(pair) for pair in zip(times["images"], times["computing"], strict=True)]
    goal = None if quick else at_least(0.9)
    work += ": the images whole, and the model for the other boxes"
    table.ratio(work, times["boxes"], least, "{:.1f} s".format, goal)


def noisy(folder: Path, n_images: int) -> list[str]:
    """Make pictures of 1600 x 1200 pixels, as camera traps send them, with a sensor's noise."""
    rng = np.random.default_rng(0)
    paths = [str(folder / f"{i}.jpg") for i in range(n_images)]
    for path in paths:
        coarse = Image.fromarray(rng.integers(0, 256, (75, 100, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((1600, 1200)), dtype=np.int16)
        pixels = (pixels + rng.integers(-12, 13, pixels.shape, dtype=np.int16)).clip(0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(path, quality=90)
    return paths


def copies(paths: list[str], folder: Path, n_images: int) -> list[str]:
    folder.mkdir()
    made = [folder / f"{i:05}.jpg" for i in range(n_images)]
    for i, path in enumerate(made):
        path.write_bytes(Path(paths[i % len(paths)]).read_bytes())
    return [*map(str, made)]


@contextmanager
def opened() -> Iterator[Counter]:
    """Count how often each file is opened, in all threads."""
    counts: Counter[str] = Counter()

    def count(event: str, args: tuple) -> None:
        if event == "open":
            counts[str(args[0])] += 1

    sys.addaudithook(count)
    yield counts


def exports(quick: bool) -> None:
    """Let Datumaro's two readers, whole and streaming, read boxes that were written as COCO."""
    table = Results()
    if quick and not have_peer("datumaro"):
        table.add("boxes of COCO read by Datumaro", "", "", "", "", "it is not installed")
        return
    with TemporaryDirectory() as folder:
        root = Path(folder, "images")
        root.mkdir()
        pictures = copies([str(make_images(Path(folder, "small"), 1)[0])], root / "camera", 10)
        crops = [f"{path}#xywh={i},{2 * i},40,30" for path in pictures for i in range(1, 6)]
        labels = [("wren", "robin")[i % 2] for i in range(len(crops))]
        Path(folder, "annotations").mkdir()
        write_selection(
            Path(folder, "annotations", "instances_default.json"),
            crops,
            range(len(crops)),
            format="coco",
            root=root,
            columns={"label": labels},
        )
        wanted = {
            (f"camera/{Path(path).stem}", i, 2 * i, 40, 30)
            for path in pictures
            for i in range(1, 6)
        }
        for reader in ("Dataset", "StreamDataset"):
            made = run_peer("datumaro", "read_coco", folder=folder, reader=reader, n_runs=1)
            found = {(name, *map(int, box)) for name, *box in made.result.tolist()}
            work = f"boxes of COCO that Datumaro's {reader} reads as they were, of {len(crops)}"
            table.value(work, len(found & wanted), goal=at_least(len(crops)), note=made.versions)


PARTS = {
    "boxes": boxes,
    "exports": exports,
    "forward": forward,
    "throughput": throughput,
    "fidelity": fidelity,
    "caching": caching,
    "memory": memory,
}

if __name__ == "__main__":
    run_parts(__file__, __doc__, PARTS)
