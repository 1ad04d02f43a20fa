"""Embeddings of more images than fit into memory, made over hours, killed and resumed."""

import os
from collections.abc import Callable, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

from sklearn.utils import check_scalar

from ..images import ImageTable, check_images, list_rows
from ..images.sources import is_frame
from ..io import Shards, open_shards
from ..io._parquet import Shard
from ..io._shard_folder import ShardFolder, make_plan
from ..io._shards import NUMPY_SHARDS, write_columns
from ..utils import Progress, warn
from ._extraction import Extraction
from ._transformer import DINOv2Transformer

__all__ = ["extract_to_shards"]


def extract_to_shards(
    paths: Any,
    folder: str | os.PathLike[str],
    transformer: DINOv2Transformer,
    *,
    shard_size: int = 1000,
    verbose: bool = True,
) -> Shards:
    """Embed images into a folder, in steps that survive whatever ends the process.

    Called again with the same arguments, it goes on where it stopped, and ends with the same
    files as a run that was never stopped. Images that could not be decoded are tried again. For
    fewer images, `DINOv2Transformer.transform` and
    `save_embeddings` do.

    Parameters
    ----------
    paths : sequence, array, Series, ImageTable or DataFrame of length n_images
        Image paths. They become the ids of the rows. The columns of a table, or of a data frame
        whose column of paths is ``image_path``, stay with the rows.
    folder : path-like
        Where the embeddings go. Made if it does not exist; one that holds anything else is left
        as it is.
    transformer : DINOv2Transformer
        How to embed. With ``on_error="nan"``, images that cannot be decoded get rows of NaN and
        an entry in the errors; with ``"raise"``, what was finished stays: mend the image that is
        named, or go on with ``"nan"``. Its `embedding_cache` and its devices are used.
    shard_size : int, default=1000
        Rows that are written together. No more than these are in memory, and no more than these
        are lost when the process is killed. Ctrl-C and errors lose only what is being computed.
    verbose : bool, default=True
        Whether to show a progress bar with rate and time left.

    Returns
    -------
    Shards
        As `open_shards` returns them.

    Raises
    ------
    ValueError
        If the folder was begun with other images or settings, or holds other files.
    RuntimeError
        If another process is writing to the folder, or the worker of a device dies.
    ImageDecodeError
        If an image cannot be decoded and the transformer has ``on_error="raise"``.
    OSError
        If the disk has no room for the embeddings, which is noticed before the first image.

    See Also
    --------
    open_shards : Opens what is finished.

    Notes
    -----
    What may change from one call to the next is how the work is done: `batch_size`,
    `num_workers`, `device`, `on_error`, `embedding_cache`, `verbose`. Images count by their paths:
    one that is replaced meanwhile keeps its row, and relative paths must be given in the same
    working directory. To add images, list all of them for a new folder, with an embedding cache.

    A row is found by its image's position, so a path that is given twice has two rows. An image
    is embedded once for each shard that it stands in, and once in all with an embedding cache.
    The rows of a resumed run equal those of an unbroken one to the last bit on one device; with
    several, batches may be cut otherwise and the last bits differ.

    Examples
    --------
    >>> from dinov2_sklearn import DINOv2Transformer, extract_to_shards, list_images
    >>> shards = extract_to_shards(
    ...     list_images("photos/"), "embeddings/", DINOv2Transformer(on_error="nan")
    ... )  # doctest: +SKIP
    >>> shards.embeddings.shape  # doctest: +SKIP
    (1000000, 768)
    """
    if is_frame(paths) and "image_path" in paths.columns:
        paths = list_rows(paths, missing="keep")
    ids = check_paths(paths, "extract_to_shards")
    size = check_settings(transformer, shard_size)
    extraction = transformer._extraction()
    plan = make_plan(NUMPY_SHARDS, ids, size, extraction.describe())
    with ShardFolder.filling(Path(folder).expanduser(), plan, ids) as shards:
        unfinished = shards.unfinished()
        n_done = len(ids) - sum(unfinished.values())
        progress = Progress(len(ids), "Embedding", "img", shown=verbose, initial=n_done)
        with extraction, progress:
            for start in unfinished:
                shard = shards.read(start)
                try:
                    fill(shard, extraction, update=progress.update)
                finally:  # when stopped, what is finished stays
                    shards.write(start, shard)
        shards.finish()
    if isinstance(paths, ImageTable) and paths.columns:
        write_columns(Path(folder).expanduser(), paths.columns, len(ids))
    result = open_shards(folder)
    if result.errors:
        warn(
            f"{len(result.errors)} of {len(ids)} images could not be decoded; their rows are NaN, "
            "and `errors` of the result lists them with the cause.",
        )
    return result


def check_paths(paths: Any, caller: str) -> list[str]:
    """Return paths as a list of str, or raise what names the function that was called."""
    images = check_images(paths, estimator_name=caller)
    for position, image in enumerate(images):
        if not isinstance(image, str):
            raise TypeError(
                f"{caller} takes paths, by which rows are known on the next run. Got an image in "
                f"memory, of type {type(image).__name__}, at position {position}."
            )
    return images  # type: ignore[return-value]


def check_settings(transformer: Any, shard_size: Any) -> int:
    """Return the shard size, having checked what is the same for all kinds of shards."""
    if not isinstance(transformer, DINOv2Transformer):
        raise TypeError(f"transformer must be a DINOv2Transformer, got {transformer!r:.100}.")
    return int(check_scalar(shard_size, "shard_size", Integral, min_val=1))


def fill(
    shard: Shard,
    extraction: Extraction,
    images: Sequence[Any] | None = None,
    update: Callable[[int], object] = int,
) -> None:
    """Embed what is missing in a shard: from its paths, or from what was decoded of these."""
    todo = sorted(shard.errors)
    for found in extraction.embed(images or [shard.ids[i] for i in todo]):
        batch = found.at(todo)
        shard.rows[batch.positions] = batch.rows
        for position in batch.positions:
            del shard.errors[position]
        shard.errors |= {position: error.reason for position, error in batch.errors.items()}
        update(batch.n_images)
