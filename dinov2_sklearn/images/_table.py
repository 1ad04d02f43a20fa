"""Images in order, with what else is known of each."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ..utils import import_extra

__all__ = ["ImageTable"]


class ImageTable(Sequence[str]):
    """Addresses of images, and columns of what else is known of each.

    It is a sequence of addresses, which `DINOv2Transformer` and all that takes paths takes.

    Parameters
    ----------
    paths : sequence of str of length n_images
        Where the images are.
    columns : mapping of str to sequence of length n_images, default=None
        Anything else, such as the label of each box and the camera that took it.

    Attributes
    ----------
    paths : ndarray of shape (n_images,), dtype object
        The addresses.
    columns : dict of str to ndarray of shape (n_images,)
        The columns.

    See Also
    --------
    list_boxes : The boxes of a detector.
    list_rows : The rows of a table, with its columns.

    Examples
    --------
    >>> from dinov2_sklearn.images import ImageTable
    >>> table = ImageTable(["a.jpg", "b.jpg"], {"camera": ["north", "south"]})
    >>> table
    ImageTable(2 images, columns: camera)
    >>> table[1], list(table[table.columns["camera"] == "north"])
    ('b.jpg', ['a.jpg'])
    """

    def __init__(self, paths: Iterable[str], columns: Mapping[str, Any] | None = None) -> None:
        self.paths: NDArray[np.object_] = _array(paths)
        self.columns: dict[str, NDArray[Any]] = {
            str(name): _array(values)
            for name, values in ({} if columns is None else columns).items()
        }
        for name, values in self.columns.items():
            if len(values) != len(self.paths):
                raise ValueError(f"{name} has {len(values)} values for {len(self.paths)} images.")

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, key: int) -> str: ...
    @overload
    def __getitem__(self, key: slice | list[Any] | NDArray[Any]) -> "ImageTable": ...
    def __getitem__(self, key: Any) -> Any:
        """Return an address; of a slice, a mask or row numbers, a table of these images."""
        if isinstance(key, (int, np.integer)):
            return self.paths[key]
        if isinstance(key, list):
            key = np.asarray(key, dtype=None if key else np.intp)
        return ImageTable(self.paths[key], {name: v[key] for name, v in self.columns.items()})

    def __repr__(self) -> str:
        columns = f", columns: {', '.join(self.columns)}" if self.columns else ""
        return f"{type(self).__name__}({len(self)} images{columns})"

    @classmethod
    def joined(cls, tables: Sequence["ImageTable"]) -> "ImageTable":
        """Put tables one after the other; None stands where one has no such column.

        Parameters
        ----------
        tables : sequence of ImageTable
            At least one.

        Returns
        -------
        ImageTable
        """
        if len(tables) == 1:
            return tables[0]
        names = dict.fromkeys(name for table in tables for name in table.columns)
        columns = {
            name: [v for table in tables for v in table.columns.get(name, [None] * len(table))]
            for name in names
        }
        return cls([path for table in tables for path in table.paths], columns)

    def to_frame(self, image_col: str = "image_path") -> Any:
        """Return the table as a data frame of pandas.

        Parameters
        ----------
        image_col : str, default="image_path"
            What the column of addresses is called.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        ImportError
            If pandas is not installed.
        ValueError
            If another column is called so.
        """
        if image_col in self.columns:
            raise ValueError(f"A column is called {image_col!r} already. Name another image_col.")
        pandas = import_extra("pandas", "pandas", "Data frames")
        return pandas.DataFrame({image_col: self.paths, **self.columns})


def _array(values: Any) -> NDArray[Any]:
    """Return a column: numbers as numpy has them, all else as objects that stay what they are."""
    if hasattr(values, "to_numpy"):  # of pandas, polars and pyarrow
        values = values.to_numpy()
    if isinstance(values, np.ndarray) and values.dtype.kind in "biufmM":
        return values
    listed = list(values)
    if listed and all(type(value) in (int, float, bool) for value in listed):
        return np.array(listed)
    array = np.empty(len(listed), dtype=object)
    array[:] = listed
    return array
