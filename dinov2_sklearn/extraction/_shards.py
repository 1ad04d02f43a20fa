"""Embeddings of more images than fit into memory, made over hours, killed and resumed."""

import os
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import check_scalar

from .._progress import progress_bar
from ..images import check_images
from ..io import Embeddings, EmbeddingsFileError
from ._extraction import Extraction
from ._manifest import (
    EMBEDDINGS,
    IMAGE_IDS,
    NUMPY_SHARDS,
    PARQUET_SHARDS,
    ids_digest,
    make_plan,
    manifest_file,
    read_ids,
    read_manifest,
)
from ._parquet_shards import read_all, shard_files
from ._shard_folder import ShardFolder, verify_rows
from ._transformer import DINOv2Transformer

__all__ = ["Shards", "extract_to_shards", "open_shards"]


@dataclass(frozen=True, eq=False, repr=False)
class Shards(Embeddings):
    """Embeddings on the disk, as `extract_to_shards` and `extract_with_ray` leave them.

    Attributes
    ----------
    embeddings : memmap or ndarray of shape (n_images, n_features), float32
        One row an image. Those of `extract_to_shards` are read from the disk where they are used,
        and cannot be written to; those of `extract_with_ray` are in memory.
    image_ids : list of str, of length n_images
        The path of each image.
    model_name : str
        The model that made them.
    timestamp : str
        When they were finished, ISO 8601.
    metadata : dict
        The settings that they were made with.
    errors : list of dict
        The images that could not be decoded, whose rows are NaN: ``row``, ``image_id`` and
        ``cause`` of each. ``pandas.DataFrame(errors)`` makes a table of it.

    See Also
    --------
    open_shards : Opens them.
    """

    errors: list[dict[str, Any]] = field(default_factory=list)


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
    paths : sequence, array, Series or one-column DataFrame of length n_images
        Image paths. They become the ids of the rows.
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
    ids = check_paths(paths, "extract_to_shards")
    size = check_settings(transformer, shard_size)
    extraction = transformer._extraction()
    plan = make_plan(NUMPY_SHARDS, ids, size, extraction.describe())
    with ShardFolder(Path(folder).expanduser(), plan, ids) as shards:
        failed = shards.failed()
        missing = list(shards.missing())
        n_missing = sum(stop - start for start, stop in missing)
        bar = progress_bar(
            len(ids), "Embedding", "img", shown=verbose, initial=len(ids) - n_missing
        )
        with extraction, bar:
            for start, stop in missing:
                _extract(extraction, shards, start, stop, bar)
            _try_again(extraction, shards, failed)
        shards.finish()
    result = open_shards(folder)
    if result.errors:
        warnings.warn(
            f"{len(result.errors)} of {len(ids)} images could not be decoded; their rows are NaN, "
            "and `errors` of the result lists them with the cause.",
            UserWarning,
            stacklevel=2,
        )
    return result


def open_shards(folder: str | os.PathLike[str], *, verify: bool = False) -> Shards:
    """Open the embeddings that `extract_to_shards` or `extract_with_ray` has finished.

    Parameters
    ----------
    folder : path-like
        The folder. It may have been moved or copied.
    verify : bool, default=False
        Whether to hold all rows to their checksums, and read them all for that. Otherwise what is
        checked is that all are there, and the ids.

    Returns
    -------
    Shards
        All rows as one array, which estimators take like any other, and their ids. The rows of
        `extract_to_shards` are memory-mapped; those of `extract_with_ray` are read into memory,
        which takes 4 bytes a number.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or it holds no shards.
    EmbeddingsFileError
        If the extraction is not finished, or a file is damaged. It is a ``ValueError``.

    See Also
    --------
    extract_to_shards : Makes them.
    extract_with_ray : Makes them on a cluster, as parquet files.

    Examples
    --------
    >>> from dinov2_sklearn import open_shards
    >>> open_shards("nowhere/")
    Traceback (most recent call last):
        ...
    FileNotFoundError: There is no folder 'nowhere'.
    """
    folder = Path(folder).expanduser()
    if not manifest_file(folder).is_file():
        raise FileNotFoundError(
            f"{str(folder)!r} is no folder of shards: it has no manifest. Make one with "
            "extract_to_shards or extract_with_ray."
            if folder.is_dir()
            else f"There is no folder {str(folder)!r}."
        )
    try:
        manifest = read_manifest(folder)
    except ValueError as error:
        raise EmbeddingsFileError(str(error)) from None
    if manifest["format"] == PARQUET_SHARDS:
        return _open_parquet(folder, manifest, verify)
    if not manifest["complete"]:
        raise EmbeddingsFileError(
            f"{str(folder)!r} is not finished. Call extract_to_shards with the same arguments as "
            "before, and it goes on where it stopped."
        )
    if verify and not verify_rows(folder, manifest):
        raise EmbeddingsFileError(
            f"Rows in {str(folder / EMBEDDINGS)!r} are damaged. Call extract_to_shards with the "
            "same arguments as before, and it makes them again."
        )
    finished = datetime.fromtimestamp(manifest_file(folder).stat().st_mtime, UTC)
    return Shards(
        _map_rows(folder, manifest),
        _read_ids(folder, manifest),
        manifest["model_name"],
        finished.isoformat(timespec="seconds"),
        {"settings": manifest["settings"]},
        manifest["errors"],
    )


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


def _extract(extraction: Extraction, shards: ShardFolder, start: int, stop: int, bar: Any) -> None:
    """Embed rows of one shard and write them; when stopped, write those that are finished."""
    ids = shards.image_ids[start:stop]
    rows = np.full((len(ids), extraction.recipe.n_outputs), np.nan, dtype=np.float32)
    done = np.zeros(len(ids), dtype=bool)
    errors: dict[int, str] = {}
    try:
        for batch in extraction.embed(ids):
            rows[batch.positions] = batch.rows
            errors |= {position: error.reason for position, error in batch.errors.items()}
            done[[*batch.positions, *batch.errors]] = True
            bar.update(len(batch.positions) + len(batch.errors))
    finally:
        if done.any():
            shards.write(start, rows, done, {start + row: errors[row] for row in errors})


def _try_again(extraction: Extraction, shards: ShardFolder, failed: list[int]) -> None:
    """Embed images that could not be decoded at an earlier time."""
    for first in range(0, len(failed), shards.plan["shard_size"]):
        positions = failed[first : first + shards.plan["shard_size"]]
        mended: dict[int, np.ndarray] = {}
        try:
            for batch in extraction.embed([shards.image_ids[i] for i in positions]):
                places = [positions[place] for place in batch.positions]
                mended |= dict(zip(places, batch.rows, strict=True))
        finally:
            shards.mend(mended)


def _open_parquet(folder: Path, manifest: dict[str, Any], verify: bool) -> Shards:
    try:
        ids, rows, causes = read_all(folder, manifest, verify=verify)
    except FileNotFoundError:
        raise EmbeddingsFileError(
            f"{str(folder)!r} is not finished. Call extract_with_ray with the same arguments as "
            "before, and it makes what is missing."
        ) from None
    except ValueError as error:
        raise EmbeddingsFileError(
            f"{error} Delete the file and call extract_with_ray with the same arguments as before, "
            "and it is made again."
        ) from error
    finished = max(path.stat().st_mtime for path in shard_files(folder, manifest))
    return Shards(
        rows,
        ids,
        manifest["model_name"],
        datetime.fromtimestamp(finished, UTC).isoformat(timespec="seconds"),
        {"settings": manifest["settings"]},
        [{"row": row, "image_id": ids[row], "cause": causes[row]} for row in sorted(causes)],
    )


def _map_rows(folder: Path, manifest: dict[str, Any]) -> np.ndarray:
    path = folder / EMBEDDINGS
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
        damaged = rows.shape != (manifest["n_images"], manifest["n_features"])
    except Exception:  # numpy parses the header as Python, whose errors are many
        damaged = True
    if damaged:
        raise EmbeddingsFileError(_damaged(path))
    return rows


def _read_ids(folder: Path, manifest: dict[str, Any]) -> list[str]:
    path = folder / IMAGE_IDS
    try:
        ids = list(read_ids(folder))
        damaged = ids_digest(ids) != manifest["image_ids"]
    except (OSError, ValueError):
        damaged = True
    if damaged:
        raise EmbeddingsFileError(_damaged(path))
    return ids


def _damaged(path: Path) -> str:
    return (
        f"{str(path)!r} is missing or damaged. Call extract_to_shards with the same arguments as "
        "before, and it makes what is lost again."
    )
