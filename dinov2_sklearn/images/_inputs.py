"""Checking the X of an estimator over images."""

from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ._references import ImageBytes, ImagePart
from .decoding import LazyImage, as_image
from .sources import is_dataset, is_frame, is_listing, is_missing

__all__ = ["CheckedImage", "check_images"]

CheckedImage: TypeAlias = str | ImageBytes | ImagePart | LazyImage | Image.Image | NDArray[Any]
_NUMBERS = "buif"
_FEW = 5  # positions that an error names

_TAKES = (
    "takes paths (str or PathLike), encoded bytes, PIL images, or arrays of shape (height, width, "
    "3): as a list, a 1-D array, a Series, a data frame of one column, or one 4-D array"
)


def check_images(X: Any, *, estimator_name: str) -> list[CheckedImage]:
    """Check the input of an estimator over images and make it a list.

    Parameters
    ----------
    X : sequence, ndarray, Series or DataFrame
        Whatever `load_image` takes, also mixed: a sequence, a 1-D array, a pandas or polars
        Series, a DataFrame of one column, an array of shape (n, 1), or an array of shape
        (n, height, width, bands). A data set of Hugging Face or a column of one, whose rows are
        read when they are wanted.
    estimator_name : str
        Named in the errors.

    Returns
    -------
    list of str, ImageBytes, PIL.Image.Image or ndarray
        In the order of X. Images are not copied and files are not touched.

    Raises
    ------
    TypeError
        If X or an element is of a type that holds no image, such as a number.
    ValueError
        If X is one image or one path rather than several, is empty, has missing values or has
        more than one column.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dinov2_sklearn.images import check_images
    >>> check_images([Path("a.jpg"), "b.jpg"], estimator_name="DINOv2Transformer")
    ['a.jpg', 'b.jpg']
    """
    _refuse_single(X, estimator_name)
    values = _as_list(X, estimator_name)
    if not values:
        raise ValueError(
            "Found array with 0 sample(s) (shape=(0,)) while a minimum of 1 is required by "
            f"{estimator_name}. It {_TAKES}."
        )
    return [
        value if type(value) is str else _check_element(value, values, estimator_name)
        for value in values
    ]


def _refuse_single(X: Any, estimator_name: str) -> None:
    if isinstance(X, (str, bytes, PathLike)):
        raise ValueError(
            f"{estimator_name} takes several images, got the single path {X!r}. Use "
            "list_images(path) for a folder, a glob or a .csv file, or [path] for one image."
        )
    single = isinstance(X, np.ndarray) and X.ndim == 3 and X.shape[2] in (3, 4)
    if isinstance(X, Image.Image) or single:
        kind = "PIL image" if isinstance(X, Image.Image) else f"array of shape {X.shape}"
        raise ValueError(
            f"{estimator_name} takes several images, got a single {kind}. Wrap it in a list: "
            "[image]."
        )


def _as_list(X: Any, estimator_name: str) -> list[Any]:
    if is_dataset(X):
        return list(_list_dataset(X, estimator_name))
    if is_frame(X):
        columns = list(X.columns)
        if len(columns) != 1:
            raise ValueError(
                f"{estimator_name} takes one column of images, got a data frame with the columns "
                f"{', '.join(map(repr, columns)) or '(none)'}. Pick one, as X['column']."
            )
        X = X[columns[0]]
    if isinstance(X, np.ndarray):
        return _list_array(X, estimator_name)
    if hasattr(X, "to_list"):
        return X.to_list()
    if hasattr(X, "detach") and X.ndim == 4:  # a tensor of torch
        return list(X)
    if not is_listing(X):
        raise TypeError(f"{estimator_name} {_TAKES}; got an object of type {type(X).__name__}.")
    return list(X)


class _Encoded:
    """The images of a data set of Hugging Face, as it has them in its files."""

    def __init__(self, dataset: Any, column: str) -> None:
        from datasets import Image as ImageFeature

        dataset = dataset.select_columns([column])
        if isinstance(dataset.features[column], ImageFeature):
            dataset = dataset.cast_column(column, ImageFeature(decode=False))
        self.dataset, self.column = dataset, column

    def __getitem__(self, row: int) -> Any:
        return self.dataset[row][self.column]


def _holds_images(feature: Any) -> bool:
    return type(feature).__name__ == "Image" or (isinstance(feature, dict) and "bytes" in feature)


def _list_dataset(X: Any, estimator_name: str) -> Iterator[LazyImage]:
    """Yield the rows of a data set or of a column of one, none of which is read yet."""
    if isinstance(X, dict):
        raise ValueError(
            f"{estimator_name} takes one data set, got the splits {', '.join(map(repr, X))}. Pick "
            "one and its column, as dataset['train']['image']."
        )
    if not hasattr(getattr(X, "source", X), "__len__"):
        raise TypeError(
            f"{estimator_name} reads rows by their numbers, and a streamed data set has none. Load "
            "it without streaming=True."
        )
    if hasattr(X, "column_name"):
        dataset, column = X.source, X.column_name
    else:
        kinds = dict(X.features or {})
        columns = [name for name, kind in kinds.items() if len(kinds) == 1 or _holds_images(kind)]
        if len(columns) != 1:
            raise ValueError(
                f"{estimator_name} takes one column of images, got a data set with the columns "
                f"{', '.join(map(repr, kinds)) or '(none)'}. Pick one, as dataset['column']."
            )
        dataset, column = X, columns[0]
    encoded = _Encoded(dataset, column)
    for row in range(len(dataset)):
        yield LazyImage(encoded, row)


def _list_array(X: NDArray[Any], estimator_name: str) -> list[Any]:
    if X.ndim == 4 and X.dtype.kind in _NUMBERS:
        return list(X)
    if X.ndim > 0 and len(X) == 0:
        return []
    if X.dtype.kind not in "OUST" or X.ndim == 0:
        raise TypeError(
            f"{estimator_name} {_TAKES}; got an array of dtype {X.dtype} and shape {X.shape}."
        )
    if X.ndim == 2 and X.shape[1] == 1:
        X = X[:, 0]
    if X.ndim != 1:
        raise ValueError(
            f"{estimator_name} takes one column of images, got an array of shape {X.shape}. Pick "
            "one, as X[:, 0]."
        )
    return list(X)


def _check_element(value: Any, values: Sequence[Any], estimator_name: str) -> CheckedImage:
    missing = (
        [i for i, other in enumerate(values) if is_missing(other)] if is_missing(value) else []
    )
    if missing:
        raise ValueError(
            f"{estimator_name} got missing values (None or NaN) in place of images at "
            f"{_positions(missing)}."
        )
    if isinstance(value, LazyImage):  # to be read later
        return value
    try:
        image = as_image(value)
    except TypeError:
        image = None
    if image is not None and (not isinstance(image, np.ndarray) or _is_image_array(image)):
        return image
    position = next(i for i, other in enumerate(values) if other is value)
    if isinstance(value, np.ndarray):
        kind = f"an array of dtype {value.dtype} and shape {value.shape}"
    else:
        kind = f"an element of type {type(value).__name__}"
    raise TypeError(f"{estimator_name} {_TAKES}; got {kind} at position {position}.")


def _is_image_array(value: NDArray[Any]) -> bool:
    return value.dtype.kind in _NUMBERS and value.ndim in (2, 3)


def _positions(places: Sequence[int]) -> str:
    shown = ", ".join(map(str, places[:_FEW]))
    return f"positions {shown}" + (f", ... ({len(places)} in all)" if len(places) > _FEW else "")
