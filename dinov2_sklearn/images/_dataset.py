"""A torch data set of images and their paths; the one module of this room that imports torch."""

from collections.abc import Callable
from typing import Any

from torch.utils.data import Dataset

from .decoding import load_image
from .sources import list_images

__all__ = ["ImageDataset"]


class ImageDataset(Dataset[tuple[Any, str]]):
    """Map-style data set of ``(image, path)`` pairs.

    Parameters
    ----------
    source : str, PathLike, DataFrame or sequence of paths
        Where the images are: a folder, a glob, a ``.csv`` or ``.txt`` file, a data frame with a
        column ``image_path``, or a sequence of paths. See `list_images`.
    transform : callable, default=None
        Called with the decoded RGB image; what it returns takes the image's place. A
        `Preprocessing` makes float32 arrays of shape (3, height, width), which a
        ``torch.utils.data.DataLoader`` stacks into tensors. With None the images are PIL images.

    Attributes
    ----------
    paths : ndarray of shape (n_images,), dtype object
        The path of each image, in the order of the data set.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        As `list_images`, when the data set is made.
    ImageDecodeError
        When an item is asked for whose file cannot be decoded.

    See Also
    --------
    list_images : How the source is read.
    load_image : How each file is decoded; it is decoded exactly, without a JPEG draft.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from dinov2_sklearn.images import ImageDataset
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("RGB", (8, 4), "red").save(Path(folder) / "red.png")
    ...     dataset = ImageDataset(folder)
    ...     image, path = dataset[0]
    >>> len(dataset), image.size, Path(path).name
    (1, (8, 4), 'red.png')
    """

    def __init__(self, source: Any, transform: Callable[[Any], Any] | None = None) -> None:
        self.paths = list_images(source)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, str]:
        path = self.paths[index]
        image = load_image(path)
        return (image if self.transform is None else self.transform(image)), path
