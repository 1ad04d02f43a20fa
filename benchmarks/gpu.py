"""Extraction on a GPU beside what limits it: decoding alone, and the model alone.

    python benchmarks/gpu.py                              # on a GPU, eight minutes
    python benchmarks/gpu.py --quick --output gpu.md      # anywhere, a minute: that it runs

Needs torch, transformers, scikit-learn, Pillow and numpy alone. The weights are random, of the
published sizes: how long a forward pass takes does not depend on what the weights are. Without a
GPU all sizes are tiny, and nothing is written unless --output names a file.
"""

import argparse
import datetime
import json
import os
import platform
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from _common import seconds
from PIL import Image
from sklearn.datasets import load_sample_image

from dinov2_sklearn import DINOv2Transformer
from dinov2_sklearn.backbone import DINOV2_MODELS
from dinov2_sklearn.backbone._loading import Backbone, load_backbone, resolve_device
from dinov2_sklearn.extraction._embedder import Recipe, embed_images
from dinov2_sklearn.extraction._extraction import Extraction
from dinov2_sklearn.images import ImageReader, map_ahead
from dinov2_sklearn.images._reading import Pictures
from dinov2_sklearn.io._cache import CacheSession

HERE = Path(__file__).parent
PARTS = ["decoding", "files", "computing"]
HEAD = """# Extraction on a GPU

Written by `make gpu`, {date}, on {machine}.

Images a second, medians of {n_runs} runs. Models have random weights in the published sizes, and
give the CLS token of {edge} x {edge} pixels, {batch_size} images in a batch.
"""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    sizes: tuple[str, ...]
    dtypes: tuple[str, ...]
    edge: int
    batch_size: int
    n_processes: int
    n_files: int
    n_camera_files: int
    duration: float
    n_runs: int


FULL = Plan(("small", "base", "large"), ("float16", "bfloat16"), 224, 256, 4, 4096, 768, 1.0, 3)
TINY = Plan(("small",), ("float32",), 56, 4, 1, 12, 4, 0.01, 1)
N_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes: that it runs")
    parser.add_argument("--part", nargs="*", choices=PARTS, default=PARTS, help="default: all")
    parser.add_argument("--output", type=Path, help="where to write; on a GPU benchmarks/GPU.md")
    options = parser.parse_args()
    device = resolve_device("auto")
    is_full = device.type == "cuda" and not options.quick
    plan = FULL if is_full else TINY
    report = Report()
    report.write(
        HEAD.format(
            date=datetime.date.today(),
            machine=machine(device),
            n_runs=plan.n_runs,
            edge=plan.edge,
            batch_size=plan.batch_size,
        )
    )
    with TemporaryDirectory() as folder:
        files = make_files(Path(folder), plan)
        models = {size: save_model(size, Path(folder, size), plan.edge) for size in plan.sizes}
        if "decoding" in options.part:
            report_decoding(report, plan, files, models["small"], device)
        if "files" in options.part:
            report_files(report, plan, files, models, device)
        if "computing" in options.part:
            report_models(report, plan, models, device)
    is_whole = is_full and options.part == PARTS
    output = options.output or (HERE / "GPU.md" if is_whole else None)
    if output:
        output.write_text(report.text, encoding="utf-8")


class Report:
    """A text in Markdown, printed as it comes."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        """Add a paragraph."""
        print(text, flush=True)
        self.text += text + "\n"

    def row(self, *cells: object) -> None:
        """Add a row; rates are rounded."""
        shown = [f"{cell:,.0f}" if isinstance(cell, float) else str(cell) for cell in cells]
        self.write("| " + " | ".join(shown) + " |")

    def table(self, title: str, *columns: str) -> None:
        """Begin a section with a table."""
        self.write(f"\n## {title}\n")
        self.row(*columns)
        self.row(*["---"] * len(columns))


def machine(device: torch.device) -> str:
    """Name the GPU, the cores that feed it, and the versions that count."""
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU"
    modules = ["torch", "torchvision", "transformers", "numpy", "PIL"]
    names = [module.replace("PIL", "pillow") for module in modules if find_spec(module)]
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return f"{card} with {N_CORES} cores; Python {platform.python_version()}, {versions}"


def rate(work: Callable[[], object], n_images: int, n_runs: int) -> float:
    """Images a second, of a work that is done once before it is timed."""
    work()
    return n_images / median(seconds(work) for _ in range(n_runs))


def make_files(folder: Path, plan: Plan) -> dict[str, list[str]]:
    """Parts of real photographs as JPEGs: of 400 x 400 pixels, and as large as a camera's."""
    photos = [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]

    def save(i: int, path: str, size: tuple[int, int]) -> None:
        rng = np.random.default_rng(i)
        edge = int(rng.integers(150, 420))
        left, top = (int(rng.integers(0, length - edge)) for length in photos[0].size)
        part = photos[i % 2].crop((left, top, left + edge, top + edge)).resize(size)
        part.save(path, quality=90)

    files = {}
    for size, n_files in (((400, 400), plan.n_files), ((4000, 3000), plan.n_camera_files)):
        name = f"{size[0]} x {size[1]}"
        files[name] = [str(folder / f"{size[0]}-{i:05}.jpg") for i in range(n_files)]
        made = files[name][: 2048 if size[0] == 400 else 32]
        with ThreadPoolExecutor(N_CORES) as threads:
            list(threads.map(partial(save, size=size), range(len(made)), made))
        # The rest are further names of these, which extraction takes for files of their own.
        for i, path in enumerate(files[name][len(made) :]):
            Path(path).hardlink_to(made[i % len(made)])
    return files


def save_model(size: str, folder: Path, edge: int) -> str:
    """Save a checkpoint of random weights in a published size."""
    from transformers import Dinov2Config, Dinov2Model

    info = DINOV2_MODELS[size]
    config = Dinov2Config(
        hidden_size=info.dim,
        num_hidden_layers=info.depth,
        num_attention_heads=info.n_heads,
        patch_size=info.patch_size,
        image_size=518,
    )
    torch.manual_seed(0)
    Dinov2Model(config).half().save_pretrained(folder)
    processor = {
        "image_processor_type": "BitImageProcessor",
        "size": {"shortest_edge": edge * 8 // 7},
        "crop_size": {"height": edge, "width": edge},
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    return str(folder)


def report_decoding(
    report: Report, plan: Plan, files: dict[str, list[str]], model: str, device: torch.device
) -> None:
    """Tell how fast files become what the model takes, with no model behind."""
    n_threads = sorted({1, 4, max(1, N_CORES // 2), N_CORES})
    titles = [f"{n} thread{'s' * (n > 1)}" for n in n_threads]
    report.table("Decoding alone, one process", "JPEG files", *titles, "on the GPU (nvJPEG)")
    reader = ImageReader(recipe_of(model, "float32").preprocessings, exact_decode=False)
    for name, paths in files.items():
        rates = []
        for n in n_threads:
            some = paths[: max(2, len(paths) * n // N_CORES)]
            rates.append(rate(partial(decode, reader, some, n), len(some), 1))
        report.row(name, *rates, nvjpeg_rate(paths, plan, device))


def decode(reader: ImageReader, paths: list[str], n_threads: int) -> None:
    for _ in map_ahead(reader.pictures, paths, num_workers=n_threads, ahead=512):
        pass


def nvjpeg_rate(paths: list[str], plan: Plan, device: torch.device) -> float | str:
    """Images a second if the GPU decodes, resizes and crops; the cores only read the files."""
    if device.type != "cuda" or not find_spec("torchvision"):
        return "not here"
    from torchvision.io import decode_jpeg, read_file

    def work() -> None:
        contents = map_ahead(read_file, paths, num_workers=4, ahead=256)
        while batch := list(islice(contents, 64)):
            pictures = decode_jpeg(batch, device=device)
            torch.cat([resized(picture, plan.edge) for picture in pictures])
        torch.cuda.synchronize()

    try:
        return rate(work, len(paths), 1)
    except RuntimeError as error:  # a torchvision that was built without nvJPEG
        return str(error).splitlines()[0]


def resized(picture: torch.Tensor, edge: int) -> torch.Tensor:
    scale = edge * 8 / 7 / min(picture.shape[1:])
    return torch.nn.functional.interpolate(
        picture[None].float(), scale_factor=scale, mode="bicubic", antialias=True
    )[..., :edge, :edge]


def report_models(report: Report, plan: Plan, models: dict[str, str], device: torch.device) -> None:
    """Tell how fast extraction is beside the model alone where images are decoded already."""
    report.table(
        "Computing alone",
        "model",
        "precision",
        "the model alone",
        "ours",
        "the model alone, compiled",
        "ours, compiled",
        "ours / the model, compiled",
    )
    for size, model in models.items():
        for dtype in plan.dtypes:
            recipe = recipe_of(model, dtype)
            backbone = load_backbone(recipe.checkpoint, device, recipe.dtype)
            plain = plain_model(backbone)
            rates = model_rates(plan, recipe, backbone, plain)
            torch.compiler.reset()
            for blocks in (backbone.tower.blocks, plain.encoder.layer):
                compile_blocks(blocks, device)
            rates += model_rates(plan, recipe, backbone, plain)
            report.row(size, dtype, *rates, f"{rates[3] / rates[2]:.2f}")


def plain_model(backbone: Backbone) -> torch.nn.Module:
    """Load the model once more, as transformers has it."""
    from transformers import AutoModel

    folder = backbone.checkpoint.folder
    return AutoModel.from_pretrained(folder, dtype=backbone.dtype).to(backbone.device).eval()


def model_rates(
    plan: Plan, recipe: Recipe, backbone: Backbone, plain: torch.nn.Module
) -> list[float]:
    """Images a second of the model on a batch that lies on its device, and of extraction."""
    alone = partial(bare_forward, plain, ready_pixels(backbone, plan))
    few = 4 * plan.batch_size
    n_batches = rate(partial(alone, few), few, 1) * plan.duration / plan.batch_size
    n_images = max(4, int(n_batches)) * plan.batch_size
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (4 * plan.batch_size, plan.edge, plan.edge, 3), dtype=np.uint8)
    decoded = [Pictures([pictures[i % len(pictures)]]) for i in range(n_images)]
    ours = partial(embed, recipe, decoded, backbone.device, plan.batch_size, 2)
    works = (partial(alone, n_images), ours)
    return [rate(work, n_images, plan.n_runs) for work in works]


def compile_blocks(blocks: Iterable[torch.nn.Module], device: torch.device) -> None:
    """Have torch compile blocks, in place: one of them, as they differ in weights alone."""
    # Without a GPU nothing is translated, for which a compiler of C++ would be needed.
    backend = "inductor" if device.type == "cuda" else "eager"
    for block in blocks:
        block.compile(backend=backend, dynamic=False)


def recipe_of(model: str, dtype: str) -> Recipe:
    return DINOv2Transformer(model, dtype=dtype)._extraction().recipe


def ready_pixels(backbone: Backbone, plan: Plan) -> torch.Tensor:
    """Return a batch that lies on the model's device already."""
    pixels = torch.randn(plan.batch_size, 3, plan.edge, plan.edge)
    return pixels.to(backbone.device, backbone.dtype)


@torch.inference_mode()
def bare_forward(model: torch.nn.Module, pixels: torch.Tensor, n_images: int) -> None:
    """Run the model as transformers has it on one batch, again and again."""
    n_batches = n_images // len(pixels)
    rows = [model(pixels).last_hidden_state[:, 0] for _ in range(n_batches)]
    torch.cat(rows).cpu()


def embed(
    recipe: Recipe, images: list, device: torch.device, batch_size: int, n_threads: int
) -> None:
    for _ in embed_images(recipe, images, device, batch_size, n_threads, CacheSession(None)):
        pass


def report_files(
    report: Report,
    plan: Plan,
    files: dict[str, list[str]],
    models: dict[str, str],
    device: torch.device,
) -> None:
    """Tell how fast JPEG files become embeddings: in one process, and in several on one device."""
    small, camera = files
    works = dict.fromkeys([(small, 1), (small, min(plan.n_processes, N_CORES)), (camera, 1)])
    columns = [f"{name}, {n} process{'es' * (n > 1)}" for name, n in works]
    report.table(f"From JPEG files, {plan.dtypes[-1]}", "model", *columns)
    for size, model in models.items():
        rates = []
        for name, n in works:
            transformer = DINOv2Transformer(
                model,
                dtype=plan.dtypes[-1],
                device=[str(device)] * n,
                batch_size=plan.batch_size,
                num_workers=N_CORES // n,
            )
            with transformer._extraction() as extraction:  # timed once the processes have started
                work = partial(exhaust, extraction, files[name])
                rates.append(rate(work, len(files[name]), plan.n_runs))
        report.row(size, *rates)


def exhaust(extraction: Extraction, paths: list[str]) -> None:
    for _ in extraction.embed(paths):
        pass


if __name__ == "__main__":
    main()
