"""``dinov2-sklearn patches``."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._options import Command, Commands, count, given, list_source, show_progress
from ._report import Report, all_skipped

__all__ = ["add_to"]

if TYPE_CHECKING:
    from ..attention import PatchAttentionInspector

_INSPECTOR = "attention._inspector.PatchAttentionInspector"


def add_to(commands: Commands) -> None:
    """Add the command."""
    command = Command(
        commands,
        "patches",
        "draw what the model looks at in images",
        "Each image becomes a picture of the same name: the image, and beside it its attention.",
        _run,
    )
    command.add_source("--images")
    command.option("--output", Path, "DIR", "folder for the pictures", required=True)
    command.add_model(_INSPECTOR)
    command.parameter(_INSPECTOR, "layer", int, "N", "block, negative from the end")
    command.parameter(_INSPECTOR, "head", int, "N", "one head (default: their mean)")
    command.option("--limit", count, "N", "only the first N images")
    kinds = command.parser.add_mutually_exclusive_group()
    kinds.add_argument(
        "--rollout", action="store_true", help="follow attention through all layers up to --layer"
    )
    kinds.add_argument(
        "--pca", action="store_true", help="colour patches by what they are, alike in all images"
    )


def _run(arguments: argparse.Namespace) -> Report:
    from ..attention import AttentionDisplay, PatchAttentionInspector
    from ..images import ImageDecodeError
    from ..utils import Progress

    paths = list_source(arguments, skips=True).paths[: arguments.limit].tolist()
    inspector = PatchAttentionInspector(
        **given(arguments, _INSPECTOR), storage_options=arguments.storage_options
    )
    arguments.output.mkdir(parents=True, exist_ok=True)
    skipped: list[dict[str, Any]] = []
    if arguments.pca:  # learns from all images before it draws the first
        paths, skipped = _split_readable(paths, inspector)
        if paths:
            inspector.fit(paths)
    targets = list(_targets(paths, arguments.output))
    _refuse_inputs(targets, paths)
    kind = "rollout" if arguments.rollout else "pca" if arguments.pca else "overlay"
    written = []
    with Progress(len(paths), "Drawing", "img", shown=show_progress(arguments)) as bar:
        for path, target in zip(paths, targets, strict=True):
            try:
                AttentionDisplay.from_estimator(inspector, path, kind=kind).save(target)
                written.append(str(target))
            except ImageDecodeError as error:
                skipped.append({"image_id": path, "cause": error.reason})
            bar.update(1)
    if not written:
        raise all_skipped(skipped)
    text = f"{arguments.output}: {len(written)} pictures"
    data = {"output": str(arguments.output), "n_images": len(written), "pictures": written}
    return Report(text, data, skipped)


def _refuse_inputs(targets: list[Path], paths: list[str]) -> None:
    images = {Path(path).resolve() for path in paths}
    for target in targets:
        if target.resolve() in images:
            raise ValueError(
                f"{str(target)!r} is one of the images, which its picture would replace. Name "
                "another folder as --output."
            )


def _split_readable(
    paths: list[str], inspector: "PatchAttentionInspector"
) -> tuple[list[str], list[dict[str, Any]]]:
    from ..images import ImageDecodeError, load_image

    readable, skipped = [], []
    for path in paths:
        try:
            load_image(path, decoding=inspector._decoding())
            readable.append(path)
        except ImageDecodeError as error:
            skipped.append({"image_id": path, "cause": error.reason})
    return readable, skipped


def _targets(paths: list[str], folder: Path) -> Iterator[Path]:
    """Name each picture after its image, and tell apart images of one name."""
    from ..images import ImageRef

    taken: set[Path] = set()
    for path in paths:
        stem = ImageRef(path).stem
        target, number = folder / f"{stem}.png", 2
        while target in taken:
            target, number = folder / f"{stem}-{number}.png", number + 1
        taken.add(target)
        yield target
