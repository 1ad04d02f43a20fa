"""Extraction beside what a user would otherwise run, both sides in one process, in turns.

    python benchmarks/extraction.py                      # everything, about ten minutes
    python benchmarks/extraction.py --part throughput    # or fidelity, caching, memory
    python benchmarks/extraction.py --quick              # a minute: that it runs, not what it shows

Peers: transformers' own pipeline, the loop over a torch DataLoader that most people write, and the
bare forward pass on tensors that are ready, which nothing can be faster than. Weights: "offline".
"""

import argparse
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from _common import Table, alternate, machine, seconds
from PIL import Image
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from dinov2_sklearn import (
    DINOv2Transformer,
    DiversitySampler,
    EmbeddingCache,
    list_images,
    make_demo_images,
)
from dinov2_sklearn.backbone import find_checkpoint
from dinov2_sklearn.backbone.forward import forward_tokens
from dinov2_sklearn.backbone.loading import load_backbone, resolve_device, resolve_dtype

PARTS = ("throughput", "fidelity", "caching", "memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--part", choices=PARTS, action="append", help="one part only")
    options = parser.parse_args()
    quick, parts = options.quick, options.part or PARTS
    print(machine(), flush=True)
    table = Table("work", "ratio", "ours", "peer")
    with tempfile.TemporaryDirectory() as scratch:
        small = [str(path) for path in make_images(Path(scratch) / "small", 8 if quick else 64)]
        big = enlarge(small[: 4 if quick else 32], Path(scratch) / "big")
        works = {
            "throughput": lambda: throughput(table, small, big, n_rounds=1 if quick else 2),
            "fidelity": lambda: fidelity(table, small, big),
            "caching": lambda: caching(table, Path(scratch), n_images=20 if quick else 2000),
            "memory": lambda: memory(
                table, Path(scratch), *((20, 60) if quick else (2000, 20_000))
            ),
        }
        for part in parts:
            works[part]()


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


def throughput(table: Table, small: list[str], big: list[str], n_rounds: int) -> None:
    ours = DINOv2Transformer("offline")
    two = DINOv2Transformer("offline", device=["cpu", "cpu"])
    for name, paths in (("small images", small), ("12-megapixel JPEGs", big)):
        best = best_batch_size(paths)
        times = alternate(
            {
                "ours": lambda paths=paths: ours.transform(paths),
                "pipeline": lambda paths=paths, best=best: transformers_pipeline(paths, best),
                "loop": lambda paths=paths: dataloader_loop(paths),
                "bare": lambda paths=paths: bare_forward(len(paths), batch_size=4),
                "bare 32": lambda paths=paths: bare_forward(len(paths), batch_size=32),
                "two": lambda paths=paths: two.transform(paths),
            },
            n_rounds,
        )
        for peer, title in (
            ("pipeline", f"transformers pipeline, batch {best}"),
            ("loop", "a DataLoader loop, batch 32"),
            ("bare", "the bare forward on ready tensors, batch 4"),
            ("bare 32", "the bare forward on ready tensors, batch 32"),
            ("two", "ours as two processes, start included"),
        ):
            table.add_ratio(
                f"{name}: ours / {title}",
                times["ours"],
                times[peer],
                lambda duration, paths=paths: f"{len(paths) / duration:.1f} img/s",
            )


def best_batch_size(paths: list[str]) -> int:
    return min((1, 8, 32), key=lambda size: seconds(lambda: transformers_pipeline(paths, size)))


@cache
def transformers_model() -> tuple:
    from transformers import AutoModel
    from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

    folder = find_checkpoint("offline").folder
    model = AutoModel.from_pretrained(folder).to(resolve_device("auto")).eval()
    return model, BitImageProcessorPil.from_pretrained(folder)


def transformers_pipeline(paths: list[str], batch_size: int) -> None:
    from transformers import pipeline

    model, processor = transformers_model()
    embed = pipeline(
        "image-feature-extraction", model=model, image_processor=processor, device=model.device
    )
    embed(paths, batch_size=batch_size)


def dataloader_loop(paths: list[str]) -> np.ndarray:
    """Embed as people do by hand: a DataLoader in the main process, batches of 32, float32."""
    model, processor = transformers_model()

    def load(path: str) -> torch.Tensor:
        image = Image.open(path).convert("RGB")
        return processor(image, return_tensors="pt")["pixel_values"][0]

    loader = torch.utils.data.DataLoader(paths, batch_size=32, collate_fn=lambda p: [*map(load, p)])
    with torch.inference_mode():
        rows = [
            model(torch.stack(b).to(model.device)).last_hidden_state[:, 0].cpu() for b in loader
        ]
    return torch.cat(rows).numpy()


def bare_forward(n_images: int, batch_size: int) -> None:
    checkpoint, device = find_checkpoint("offline"), resolve_device("auto")
    backbone = load_backbone(checkpoint, device, resolve_dtype("auto", device))
    pixels, last = torch.zeros(n_images, 3, 224, 224), checkpoint.depth - 1
    for batch in pixels.split(batch_size):
        forward_tokens(backbone, batch, [last])[last].cls.cpu()


def fidelity(table: Table, small: list[str], big: list[str]) -> None:
    plain = {"small images": dataloader_loop(small), "12-megapixel JPEGs": dataloader_loop(big)}
    for name, paths in (("small images", small), ("12-megapixel JPEGs", big)):
        exact = DINOv2Transformer("offline", dtype="float32", exact_decode=True).transform(paths)
        for title, rows in (
            ("float32, exact_decode=True", exact),
            ("defaults", DINOv2Transformer("offline").transform(paths)),
        ):
            lowest = cosine(rows, plain[name]).min()
            table.add(f"{name}: {title}, lowest cosine to plain transformers", f"{lowest:.6f}")


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def noise(folder: Path, n_images: int) -> list[str]:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(n_images):
        pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:05}.png")
    return [*list_images(folder)]


def caching(table: Table, scratch: Path, n_images: int) -> None:
    paths = noise(scratch / "cached", n_images)
    embed = DINOv2Transformer("offline", embedding_cache=scratch / "cache")
    first, again = seconds(lambda: embed.transform(paths)), seconds(lambda: embed.transform(paths))
    title = f"{n_images} images, a first time / a second time with the cache"
    table.add(title, f"{first / again:.0f}", f"{again:.2f} s", f"{first:.1f} s")
    some = paths[: min(300, n_images)]
    embed.set_params(embedding_cache=scratch / "searched")
    pipe = Pipeline([("embed", embed), ("select", DiversitySampler(n_samples=3))])
    grid = {
        "select__strategy": ["random", "cluster", "fps", "hybrid"],
        "select__n_samples": [2, 3, 4],
    }
    GridSearchCV(pipe, grid, cv=5).fit(some)
    misses = EmbeddingCache(scratch / "searched").info().misses
    table.add(f"GridSearchCV, 12 candidates x 5 folds, {len(some)} images: images embedded", misses)


PEAK = """
import resource
from dinov2_sklearn import DINOv2Transformer, extract_to_shards, list_images
embed = DINOv2Transformer("offline", image_size=28)
extract_to_shards(list_images({images!r}), {folder!r}, embed, verbose=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def memory(table: Table, scratch: Path, few: int, many: int) -> None:
    """Compare peak memory; the images are seen at 28 pixels, where the model is quick."""
    (pixels,) = noise(scratch / "pixels", 1)
    peaks = []
    for n_images in (few, many):
        images, folder = scratch / f"links{n_images}", scratch / f"shards{n_images}"
        images.mkdir()
        for i in range(n_images):
            (images / f"{i}.png").symlink_to(pixels)
        code = PEAK.format(images=str(images), folder=str(folder))
        run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        peaks.append(int(run.stdout))
    table.add(
        f"peak memory, {many:,} images through shards / {few:,}",
        f"{peaks[1] / peaks[0]:.3f}",
        f"{peaks[1]} MB",
        f"{peaks[0]} MB",
    )


if __name__ == "__main__":
    main()
