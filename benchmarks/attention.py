"""Attention of the CLS token in all layers and heads: ours beside ``output_attentions=True``.

    python benchmarks/attention.py                 # some minutes
    python benchmarks/attention.py --part speed    # or memory
    python benchmarks/attention.py --quick         # half a minute: that it runs

Speed: the sides take turns on the same images, in one process, in float32 and with one batch
size, from files to rows. The bare forward is that of the model on pixels that are ready. Memory:
each side is all the work of a process of its own. Weights: "offline", in all their twelve blocks.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from _common import Results, alternate, at_least, at_most, peak_memory, run_parts
from PIL import Image
from sklearn.datasets import load_sample_images
from transformers import AutoModel
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

from dinov2_sklearn import PatchAttentionInspector, make_demo_images
from dinov2_sklearn.backbone import find_checkpoint
from dinov2_sklearn.backbone._offline import _installed_onnx_file, convert_onnx_backbone

BATCH = 8


def ours(model: str, size: int, paths: list[str]) -> np.ndarray:
    """Return rows (image, layer, head, patch) as this package gives them."""
    inspector = PatchAttentionInspector(model, image_size=size, batch_size=BATCH, device="cpu")
    maps = [found.attention for found in inspector.inspect_many(paths)]
    return np.stack(maps).reshape(len(paths), *maps[0].shape[:2], -1)


def eager(model: str, size: int, paths: list[str]) -> np.ndarray:
    """Return the same from transformers alone: whole matrices, of each of which one row is kept."""
    folder = find_checkpoint(model).folder
    processor = BitImageProcessorPil.from_pretrained(folder)
    network = _model(folder, "eager")
    sizes = {
        "size": {"shortest_edge": round(size * 256 / 224)},
        "crop_size": {"height": size, "width": size},
    }
    rows = []
    for start in range(0, len(paths), BATCH):
        images = [Image.open(path).convert("RGB") for path in paths[start : start + BATCH]]
        pixels = processor(images, return_tensors="pt", **sizes)
        with torch.inference_mode():
            attentions = network(**pixels, output_attentions=True).attentions
        rows.append(torch.stack([layer[:, :, 0, 1:] for layer in attentions], dim=1))
    return torch.cat(rows).numpy()


@lru_cache
def _model(folder: Path, attention: str) -> torch.nn.Module:
    return AutoModel.from_pretrained(folder, attn_implementation=attention).eval()


@torch.inference_mode()
def forward(model: str, pixels: torch.Tensor) -> None:
    """Run the bare model, as transformers has it, with its fast kernel of attention."""
    network = _model(find_checkpoint(model).folder, "sdpa")
    for batch in pixels.split(BATCH):
        network(batch)


def speed(quick: bool) -> None:
    table = Results()
    with model_and_images(quick) as (model, paths):
        size, paths = (112, paths) if quick else (224, paths[:64])
        checkpoint = find_checkpoint(model)
        recipe = checkpoint.preprocessing.with_image_size(size, checkpoint.patch_size)
        pixels = torch.from_numpy(np.stack([recipe(Image.open(p).convert("RGB")) for p in paths]))
        times = alternate(
            {
                "ours": partial(ours, model, size, paths),
                "eager": partial(eager, model, size, paths),
                "bare": partial(forward, model, pixels),
            },
            n_rounds=1 if quick else 3,
        )
        difference = np.abs(ours(model, size, paths[:2]) - eager(model, size, paths[:2])).max()
    show = f"{{:.1f}} s for {len(paths)}".format
    work = f"{len(paths)} images at {size} px, {checkpoint.depth} layers, batch {BATCH}, float32"
    table.ratio(f"{work}: eager", times["ours"], times["eager"], show, at_least(2))
    table.ratio(f"{work}: the bare forward", times["ours"], times["bare"], show, at_least(0.9))
    note = "what ours could reach beside eager, if attention cost nothing"
    table.ratio("eager beside the bare forward", times["bare"], times["eager"], show, note=note)
    scientific = "{:.1e}".format
    table.value("largest difference of an attention", difference, scientific, at_most(1e-5))


def memory(quick: bool) -> None:
    table = Results()
    with model_and_images(quick) as (model, paths):
        size, paths = (168, paths) if quick else (518, paths[:BATCH])
        peaks, grown = {}, {}
        depth = find_checkpoint(model).depth
        for side in SIDES:
            command = [sys.executable, __file__, "--side", side, model, str(size), *paths]
            run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            loaded, peaks[side] = map(float, run.stdout.split())
            grown[side] = peaks[side] - loaded
    work = f"peak memory, {depth} layers at {size} px, batch {len(paths)}"
    for title, sizes, goal in (
        (f"{work}, beyond the loaded model: ours / eager's", grown, at_most(0.2)),
        ("the same of the whole process", peaks, None),
    ):
        shown = {side: f"{megabytes:.0f} MB" for side, megabytes in sizes.items()}
        table.value(
            title,
            sizes["ours"] / sizes["eager"],
            "{:.2f} x".format,
            None if quick else goal,
            ours=shown["ours"],
            peer=shown["eager"],
        )


def measure_memory(side: str, model: str, size: int, paths: list[str]) -> None:
    """Print the peak memory before and after the work; run in a process of its own."""
    run = SIDES[side]
    run(model, 28, paths[:1])  # loads the model
    loaded = peak_memory()
    run(model, size, paths)
    print(loaded, peak_memory())


@contextmanager
def model_and_images(quick: bool) -> Iterator[tuple[str, list[str]]]:
    with TemporaryDirectory() as folder:
        if quick:
            yield "offline", _two_photographs(Path(folder))
            return
        # All twelve blocks, of which the offline checkpoint keeps the first eleven.
        model = str(Path(folder, "vit-s14"))
        convert_onnx_backbone(_installed_onnx_file(), Path(model), n_blocks=12)
        # Every third, since neighbours among them are alike.
        yield model, make_demo_images(Path(folder, "images")).tolist()[::3]


def _two_photographs(folder: Path) -> list[str]:
    paths = []
    for i, pixels in enumerate(load_sample_images().images):
        paths.append(str(folder / f"{i}.png"))
        Image.fromarray(pixels).save(paths[-1])
    return paths


SIDES = {"ours": ours, "eager": eager}
PARTS = {"speed": speed, "memory": memory}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        side, model, size, *paths = sys.argv[2:]
        measure_memory(side, model, int(size), paths)
    else:
        run_parts(__file__, __doc__, PARTS)
