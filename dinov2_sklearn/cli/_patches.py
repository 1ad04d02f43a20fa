"""``dinov2-sklearn patches``."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._options import (
    Commands,
    add_model,
    add_output_style,
    add_source,
    count,
    make_command,
    show_progress,
)
from ._report import Report, all_skipped

if TYPE_CHECKING:
    from ..attention import PatchAttentionInspector


def add_to(commands: Commands) -> None:
    """Add the command."""
    command = make_command(
        commands,
        "patches",
        "draw what the model looks at in images",
        "Each image becomes a picture of the same name: the image, and beside it its attention.",
    )
    add_source(command, "--images")
    command.add_argument(
        "--output", required=True, type=Path, metavar="DIR", help="folder for the pictures"
    )
    add_model(command, batch_size=8, dtype="float32")
    command.add_argument(
        "--layer", type=int, default=-1, metavar="N", help="block, negative from the end"
    )
    command.add_argument("--head", type=int, metavar="N", help="one head (default: their mean)")
    command.add_argument("--limit", type=count, metavar="N", help="only the first N images")
    kinds = command.add_mutually_exclusive_group()
    kinds.add_argument(
        "--rollout", action="store_true", help="follow attention through all layers up to --layer"
    )
    kinds.add_argument(
        "--pca", action="store_true", help="colour patches by what they are, alike in all images"
    )
    add_output_style(command)
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> Report:
    from ..attention import AttentionDisplay
    from ..images import list_images
    from ..utils import Progress

    paths = list_images(arguments.images, pattern=arguments.pattern, image_col=arguments.image_col)[
        : arguments.limit
    ].tolist()
    inspector = _inspector(arguments)
    arguments.output.mkdir(parents=True, exist_ok=True)
    readable, skipped = _split_readable(paths)
    if not readable:
        raise all_skipped(skipped)
    targets = list(_targets(readable, arguments.output))
    _refuse_inputs(targets, paths)
    if arguments.pca:
        inspector.fit(readable)
    kind = "rollout" if arguments.rollout else "pca" if arguments.pca else "overlay"
    written = []
    bar = Progress(len(readable), "Drawing", "img", shown=show_progress(arguments))
    with bar:
        for path, target in zip(readable, targets, strict=True):
            display = AttentionDisplay.from_estimator(inspector, path, kind=kind)
            display.save(target)
            written.append(str(target))
            bar.update(1)
    text = f"{arguments.output}: {len(written)} pictures"
    data = {"output": str(arguments.output), "n_images": len(written), "pictures": written}
    return Report(text, data, skipped)


def _inspector(arguments: argparse.Namespace) -> "PatchAttentionInspector":
    from ..attention import PatchAttentionInspector

    return PatchAttentionInspector(
        arguments.model,
        revision=arguments.revision,
        layer=arguments.layer,
        head=arguments.head,
        image_size=arguments.image_size,
        device=arguments.device,
        dtype=arguments.dtype,
        batch_size=arguments.batch_size,
        num_workers=arguments.num_workers,
    )


def _refuse_inputs(targets: list[Path], paths: list[str]) -> None:
    images = {Path(path).resolve() for path in paths}
    for target in targets:
        if target.resolve() in images:
            raise ValueError(
                f"{str(target)!r} is one of the images, which its picture would replace. Name "
                "another folder as --output."
            )


def _split_readable(paths: list[str]) -> tuple[list[str], list[dict[str, Any]]]:
    from ..images import ImageDecodeError, load_image

    readable, skipped = [], []
    for path in paths:
        try:
            load_image(path)
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
