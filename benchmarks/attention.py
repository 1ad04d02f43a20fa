"""Attention of the CLS token in all layers and heads: ours beside ``output_attentions=True``.

Speed: the sides take turns on the same images, in one process, in float32 and with one batch
size, from files to rows; the best of several turns counts. The bare forward is that of the model
on pixels that are ready. Memory: each side is all the work of a process of its own.

Needs the offline weights (see the README) and what ``make_demo_images`` needs.

    python benchmarks/attention.py
"""

import argparse
import platform
import resource
import subprocess
import sys
import tempfile
import time
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from transformers import AutoModel
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

from dinov2_sklearn import PatchAttentionInspector, make_demo_images
from dinov2_sklearn.backbone import find_checkpoint
from dinov2_sklearn.backbone.forward import forward_tokens
from dinov2_sklearn.backbone.loading import load_backbone
from dinov2_sklearn.backbone.offline import _installed_onnx_file, convert_onnx_backbone

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
    network = _eager_model(folder)
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
def _eager_model(folder: Path) -> torch.nn.Module:
    return AutoModel.from_pretrained(folder, attn_implementation="eager").eval()


def forward(model: str, pixels: torch.Tensor) -> None:
    """Run the bare model, as it is loaded by this package."""
    checkpoint = find_checkpoint(model)
    backbone = load_backbone(checkpoint, torch.device("cpu"), torch.float32)
    for batch in pixels.split(BATCH):
        forward_tokens(backbone, batch, [checkpoint.depth - 1])


def compare_speed(model: str, size: int, paths: list[str], repeats: int) -> None:
    checkpoint = find_checkpoint(model)
    recipe = checkpoint.preprocessing.with_image_size(size, checkpoint.patch_size)
    pixels = torch.from_numpy(np.stack([recipe(Image.open(p).convert("RGB")) for p in paths]))
    difference = np.abs(ours(model, size, paths[:2]) - eager(model, size, paths[:2])).max()
    forward(model, pixels[:2])
    best = dict.fromkeys(("ours", "eager", "bare forward"), 0.0)
    # The sides take turns every few images, so that whatever else the machine does hits them all.
    for start in range(0, len(paths), 2 * BATCH):
        part = slice(start, start + 2 * BATCH)
        sides = {
            "ours": partial(ours, model, size, paths[part]),
            "eager": partial(eager, model, size, paths[part]),
            "bare forward": partial(forward, model, pixels[part]),
        }
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(repeats):
            for name, run in sides.items():
                begin = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - begin)
        for name, times in seconds.items():
            best[name] += min(times)
    print(f"\n{len(paths)} images at {size} px, {checkpoint.depth} layers, batch {BATCH}, float32")
    for name, time_ in best.items():
        print(f"  {name:<13} {time_:7.2f} s  {len(paths) / time_:6.1f} images/s")
    print(f"  ours is {best['eager'] / best['ours']:.2f} times as fast as eager")
    print(f"  ours is {best['bare forward'] / best['ours']:.2f} times as fast as the bare forward")
    print(f"  eager takes {best['eager'] / best['bare forward']:.2f} times the bare forward")
    print(f"  largest difference of an attention: {difference:.1e}")


def peak_memory() -> float:
    """Return the largest size in MB that this process has had."""
    try:  # unlike ru_maxrss, this knows nothing of the process that started this one
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3
    except (OSError, StopIteration):
        scale = 1e6 if sys.platform == "darwin" else 1e3
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def measure_memory(side: str, model: str, size: int, paths: list[str]) -> None:
    """Print the peak memory before and after the work; run in a process of its own."""
    run = {"ours": ours, "eager": eager}[side]
    run(model, 28, paths[:1])  # loads the model
    loaded = peak_memory()
    run(model, size, paths)
    print(loaded, peak_memory())


def compare_memory(model: str, size: int, paths: list[str]) -> None:
    print(f"\nPeak memory, {find_checkpoint(model).depth} layers at {size} px, batch {len(paths)}")
    peaks, grown = {}, {}
    for side in ("ours", "eager"):
        command = [sys.executable, __file__, "--side", side, "--model", model, "--size", str(size)]
        output = subprocess.run(
            [*command, *paths], check=True, stdout=subprocess.PIPE, text=True
        ).stdout
        loaded, peaks[side] = map(float, output.split())
        grown[side] = peaks[side] - loaded
        print(f"  {side:<6} {peaks[side]:6.0f} MB, {grown[side]:6.0f} MB beyond the loaded model")
    print(f"  ours is {peaks['ours'] / peaks['eager']:.2f} of eager's process")
    print(f"  and {grown['ours'] / grown['eager']:.2f} of it beyond the loaded model")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small run, to see that it works")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    parser.add_argument("paths", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        measure_memory(arguments.side, arguments.model, arguments.size, arguments.paths)
        return
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    n_images, size, large = (2, 112, 168) if arguments.quick else (64, 224, 518)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.quick:
            model, paths = "offline", _two_photographs(Path(folder))
        else:
            # All twelve blocks, of which the offline checkpoint keeps the first eleven.
            model = str(Path(folder, "vit-s14"))
            convert_onnx_backbone(_installed_onnx_file(), Path(model), n_blocks=12)
            # Every third, since neighbours among them are alike.
            paths = make_demo_images(Path(folder, "images")).tolist()[::3]
        compare_speed(model, size, paths[:n_images], repeats=1 if arguments.quick else 3)
        compare_memory(model, large, paths[:BATCH])


def _two_photographs(folder: Path) -> list[str]:
    paths = []
    for i, pixels in enumerate(load_sample_images().images):
        paths.append(str(folder / f"{i}.png"))
        Image.fromarray(pixels).save(paths[-1])
    return paths


if __name__ == "__main__":
    main()
