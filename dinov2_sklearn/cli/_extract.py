"""``dinov2-sklearn extract``."""

import argparse
import io
import shutil
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ._options import (
    Command,
    Commands,
    check_output,
    count,
    devices,
    given,
    list_source,
    show_progress,
)
from ._report import Report, all_skipped, leave_out

if TYPE_CHECKING:
    from ..images import ImageTable
    from ..io import Shards

__all__ = ["add_to"]

_TRANSFORMER = "extraction._transformer.DINOv2Transformer"
_FILES = (".pt", ".npz", ".parquet")


def add_to(commands: Commands) -> None:
    """Add the command."""
    command = Command(
        commands,
        "extract",
        "embed images into a file, or into a folder of shards",
        "Interrupted and called again with the same arguments, it goes on where it stopped.",
        _run,
    )
    command.add_source()
    what = "a .pt, .npz or .parquet file; or a folder, for more images than fit into memory"
    command.option("--output", Path, "F", what, required=True)
    command.add_model(_TRANSFORMER, devices, "; several with commas")
    parameter = partial(command.parameter, _TRANSFORMER)
    which = "block whose tokens are taken, negative from the end; may be repeated"
    parameter("layer", [int], "N", which)
    which = "the class token, the mean of the patches, or both"
    parameter("pooling", ("cls", "mean", "cls_mean"), None, which)
    command.switch("--normalize", "scale rows to unit length")
    where = "keep embeddings here, and never embed a file twice"
    parameter("embedding_cache", Path, "DIR", where, flag="--cache")
    what = "leave out images that cannot be decoded and list them, or stop at the first"
    command.option("--on-error", ("skip", "raise"), None, what, default="skip")
    when = "images after which the work so far is safe"
    command.option("--shard-size", count, "N", when, default=1000)


def _run(arguments: argparse.Namespace) -> Report:
    output: Path = arguments.output
    in_file = output.suffix.lower() in _FILES
    if in_file:
        inputs = [*map(Path, arguments.source), *filter(None, [arguments.boxes])]
        check_output(output, *inputs)
    elif output.suffix and not output.is_dir():
        raise ValueError(
            f"{str(output)!r} has the extension {output.suffix!r}. Embeddings files are .pt, .npz "
            "or .parquet; a folder of shards has none."
        )
    table = list_source(arguments, skips=arguments.on_error == "skip")
    if in_file:
        _try_format(output, table)
    # A file is made from a folder of shards too, which is what survives an interruption.
    folder = output.with_name(output.name + ".partial") if in_file else output
    shards = _extract(table, folder, arguments)
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


def _try_format(output: Path, table: "ImageTable") -> None:
    """Find out before hours of work whether the format can be written and hold the names."""
    import numpy as np

    from ..io._embeddings import check_columns, format_of

    contents = {
        "embeddings": np.zeros((len(table), 1), dtype=np.float32),
        "image_ids": list(table),
        "model_name": "",
        "timestamp": "",
        "metadata": {},
        "columns": check_columns(table.columns, len(table)),
    }
    format_of(output).write(io.BytesIO(), contents)


def _extract(table: "ImageTable", folder: Path, arguments: argparse.Namespace) -> "Shards":
    from ..extraction import DINOv2Transformer, extract_to_shards
    from ..io._shard_folder import OtherShardsError

    with warnings.catch_warnings():
        # They are listed at the end.
        warnings.filterwarnings("ignore", ".*could not be decoded")
        try:
            return extract_to_shards(
                table,
                folder,
                DINOv2Transformer(
                    **given(arguments, _TRANSFORMER),
                    normalize=arguments.normalize,
                    storage_options=arguments.storage_options,
                    on_error="nan" if arguments.on_error == "skip" else "raise",
                ),
                shard_size=arguments.shard_size,
                verbose=show_progress(arguments),
            )
        except OtherShardsError as error:
            raise ValueError(f"{error} Or delete {str(folder)!r}, to begin anew.") from error


def _save(output: Path, shards: "Shards") -> None:
    from ..io import save_embeddings

    kept = leave_out(shards)
    metadata = {**shards.metadata, "skipped": shards.errors}
    save_embeddings(
        output,
        kept.rows,
        kept.paths,
        model_name=kept.model_name,
        metadata=metadata,
        columns=kept.columns,
    )
