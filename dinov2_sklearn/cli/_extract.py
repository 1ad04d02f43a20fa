"""``dinov2-sklearn extract``."""

import argparse
import io
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._options import (
    Commands,
    add_model,
    add_output_style,
    add_source,
    check_output,
    count,
    make_command,
    show_progress,
)
from ._report import Report, all_skipped

if TYPE_CHECKING:
    from ..extraction import DINOv2Transformer
    from ..io import Shards

_FILES = (".pt", ".npz", ".parquet")


def add_to(commands: Commands) -> None:
    """Add the command."""
    command = make_command(
        commands,
        "extract",
        "embed images into a file, or into a folder of shards",
        "Interrupted and called again with the same arguments, it goes on where it stopped.",
    )
    add_source(command)
    command.add_argument(
        "--output",
        required=True,
        type=Path,
        metavar="F",
        help="a .pt, .npz or .parquet file; or a folder, for more images than fit into memory",
    )
    add_model(command, batch_size=32, dtype="auto", devices="; several with commas")
    command.add_argument(
        "--layer",
        type=int,
        action="append",
        metavar="N",
        help="block whose tokens are taken, negative from the end; may be repeated (default: -1)",
    )
    command.add_argument(
        "--pooling",
        choices=("cls", "mean", "cls_mean"),
        default="cls",
        help="the class token, the mean of the patches, or both (default: %(default)s)",
    )
    command.add_argument("--normalize", action="store_true", help="scale rows to unit length")
    command.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="keep embeddings here, and never embed a file twice",
    )
    command.add_argument(
        "--on-error",
        choices=("skip", "raise"),
        default="skip",
        help="leave out images that cannot be decoded and list them, or stop at the first "
        "(default: %(default)s)",
    )
    command.add_argument(
        "--shard-size",
        type=count,
        default=1000,
        metavar="N",
        help="images after which the work so far is safe (default: %(default)s)",
    )
    add_output_style(command)
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> Report:
    from ..images import list_images

    output: Path = arguments.output
    in_file = output.suffix.lower() in _FILES
    if in_file:
        check_output(output, Path(arguments.input))
    elif output.suffix and not output.is_dir():
        raise ValueError(
            f"{str(output)!r} has the extension {output.suffix!r}. Embeddings files are .pt, .npz "
            "or .parquet; a folder of shards has none."
        )
    paths = list_images(arguments.input, pattern=arguments.pattern, image_col=arguments.image_col)
    if in_file:
        _try_format(output, paths)
    # A file is made from a folder of shards too, which is what survives an interruption.
    folder = output.with_name(output.name + ".partial") if in_file else output
    shards = _extract(paths, folder, arguments)
    skipped = [{key: e[key] for key in ("image_id", "cause")} for e in shards.errors]
    n_images, n_features = len(shards) - len(skipped), shards.embeddings.shape[1]
    if in_file:
        if n_images:
            _save(output, shards)
        shutil.rmtree(folder)
    if n_images == 0:
        raise all_skipped(skipped)
    data = {
        "output": str(output),
        "n_images": n_images,
        "n_features": n_features,
        "model": shards.model_name,
    }
    text = f"{output}: embeddings of {n_images} images, {n_features} features ({shards.model_name})"
    return Report(text, data, skipped)


def _try_format(output: Path, paths: Any) -> None:
    """Find out before hours of work whether the format can be written and hold the names."""
    import numpy as np

    from ..io._formats import format_of

    contents = {
        "embeddings": np.zeros((len(paths), 1), dtype=np.float32),
        "image_ids": list(paths),
        "model_name": "",
        "timestamp": "",
        "metadata": {},
    }
    format_of(output).write(io.BytesIO(), contents)


def _extract(paths: Any, folder: Path, arguments: argparse.Namespace) -> "Shards":
    from ..extraction import extract_to_shards
    from ..io._manifest import OtherShardsError

    with warnings.catch_warnings():
        # They are listed at the end.
        warnings.filterwarnings("ignore", ".*could not be decoded")
        try:
            return extract_to_shards(
                paths,
                folder,
                _transformer(arguments),
                shard_size=arguments.shard_size,
                verbose=show_progress(arguments),
            )
        except OtherShardsError as error:
            raise ValueError(f"{error} Or delete {str(folder)!r}, to begin anew.") from error


def _transformer(arguments: argparse.Namespace) -> "DINOv2Transformer":
    from ..extraction import DINOv2Transformer

    devices = arguments.device.split(",")
    return DINOv2Transformer(
        arguments.model,
        revision=arguments.revision,
        layer=tuple(arguments.layer or (-1,)),
        pooling=arguments.pooling,
        image_size=arguments.image_size,
        normalize=arguments.normalize,
        device=devices if len(devices) > 1 else devices[0],
        dtype=arguments.dtype,
        batch_size=arguments.batch_size,
        num_workers=arguments.num_workers,
        embedding_cache=arguments.cache,
        on_error="nan" if arguments.on_error == "skip" else "raise",
    )


def _save(output: Path, shards: "Shards") -> None:
    import numpy as np

    from ..io._embeddings import save_embeddings

    kept = np.ones(len(shards), dtype=bool)
    kept[[error["row"] for error in shards.errors]] = False
    ids = [image_id for image_id, keep in zip(shards.image_ids, kept, strict=True) if keep]
    metadata = {**shards.metadata, "skipped": shards.errors}
    save_embeddings(
        output, shards.embeddings[kept], ids, model_name=shards.model_name, metadata=metadata
    )
