"""The paths of a run on a cluster, wherever they are listed."""

import os
from os import PathLike
from typing import Any

from ...images import ImageRef, list_images
from ...images.sources._tables import below_folder_of, check_column, is_frame
from ...io._parquet_shards import import_pyarrow
from .._shards import check_paths

__all__ = ["read_paths"]

_CALLER = "extract_with_ray"


def read_paths(source: Any, image_col: str) -> list[str]:
    """Return the paths that a source lists, in its order.

    Parameters
    ----------
    source : str, PathLike, DataFrame, ray.data.Dataset or sequence of paths
        As in `extract_with_ray`.
    image_col : str
        The column of paths in a table.

    Raises
    ------
    ValueError
        If there is no such column, or there are no paths, or one is no valid Unicode.
    TypeError
        If there are other things than paths.
    """
    if isinstance(source, (str, PathLike)):
        path = os.path.expanduser(os.fspath(source))  # noqa: PTH111 - may be a URL
        in_parquet = path.lower().endswith(".parquet")
        listed: Any = (
            _from_parquet(path, image_col) if in_parquet else list_images(path, image_col=image_col)
        )
    elif hasattr(source, "iter_batches") and hasattr(source, "select_columns"):
        listed = _from_dataset(source, image_col)
    elif is_frame(source):
        check_column(image_col, [*source.columns], "The data frame")
        listed = source[image_col]
    else:
        listed = source
    return _check_unicode(check_paths(listed, _CALLER))


def _from_parquet(path: str, image_col: str) -> list[str]:
    _, parquet = import_pyarrow()
    if not ImageRef(path).is_url and not os.path.isfile(path):  # noqa: PTH113
        raise FileNotFoundError(
            f"There is no file {path!r}. Several files of paths are given as "
            f"ray.data.read_parquet({path!r})."
        )
    with ImageRef(path).open() as raw, parquet.ParquetFile(raw) as file:
        check_column(image_col, file.schema_arrow.names, repr(path))
        listed = file.read([image_col])[image_col].to_pylist()
    return below_folder_of(path, check_paths(listed, _CALLER))


def _from_dataset(dataset: Any, image_col: str) -> list[Any]:
    check_column(image_col, dataset.columns() or [], "The dataset")
    options = dataset.context.execution_options
    was, options.preserve_order = options.preserve_order, True
    try:
        batches = dataset.select_columns([image_col]).iter_batches(batch_format="pyarrow")
        return [path for batch in batches for path in batch[image_col].to_pylist()]
    finally:
        options.preserve_order = was


def _check_unicode(paths: list[str]) -> list[str]:
    pyarrow, _ = import_pyarrow()
    try:
        pyarrow.array(paths, pyarrow.string())
    except UnicodeEncodeError as error:
        raise ValueError(
            f"The path {error.object!r} is no valid Unicode, which parquet cannot keep. Rename the "
            "file, or use extract_to_shards."
        ) from error
    return paths
