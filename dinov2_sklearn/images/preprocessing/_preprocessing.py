"""RGB images to a checkpoint's pixel values: resize, crop, rescale, normalise."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ._config import read_config

__all__ = ["Preprocessing"]

_CROP_MODES = ("center", "pad", "squash")
# Pixels of a resized image above which only the part that the crop keeps is computed.
_MOST_RESIZED_PIXELS = 2**24


@dataclass(frozen=True)
class Preprocessing:
    """What is done to an RGB image before a Vision Transformer sees it.

    The steps are those of the checkpoint's own image processor in its PIL form: resize, crop at
    the centre, multiply by ``rescale``, subtract ``mean``, divide by ``std``. A step whose value
    is None is left out. Objects are immutable, hashable and picklable.

    Parameters
    ----------
    resize : int, (int, int) or None, default=256
        The length of the shortest edge, the other edge keeping the aspect ratio (rounded down),
        or a fixed (height, width), or no resize.
    crop : (int, int) or None, default=(224, 224)
        (height, width) cut from the centre. Where the image is smaller, it is padded with black.
    resample : int, default=3
        One of ``PIL.Image.Resampling``; 2 is bilinear, 3 bicubic.
    rescale : float or None, default=1 / 255
        Factor from 8-bit values to the range that ``mean`` and ``std`` refer to.
    mean, std : (float, float, float) or None
        Of each channel; the defaults are those of ImageNet. Both or neither.
    multiple : int or None, default=None
        With a number, the shortest edge becomes ``resize`` and the other one the nearest multiple
        of this number, with no crop. Made by `keep_aspect`.
    longest_edge : int or None, default=None
        The largest length of the other edge, with ``multiple`` only.
    crop_mode : {"center", "pad", "squash"}, default="center"
        "center" crops as above. The others show the whole picture in an image of that size: "pad"
        keeps its shape between borders of the mean colour, "squash" scales each edge alone.

    Raises
    ------
    ValueError
        Where a value is out of range or two of them cannot go together.

    See Also
    --------
    load_image : Makes the RGB image; give it ``min_size=preprocessing.min_size``.

    Notes
    -----
    The result agrees with the processor's to rounding in float32, with ``crop_mode="center"``. For
    images so elongated that the resized image would have more than 2**24 pixels, only the part
    that the crop keeps is computed, which bounds memory; there, hard edges can come out with other
    values, as Pillow may then filter rows before columns or the other way round.

    Examples
    --------
    >>> from PIL import Image
    >>> from dinov2_sklearn.images import Preprocessing
    >>> preprocessing = Preprocessing()
    >>> preprocessing(Image.new("RGB", (640, 480), "white")).shape
    (3, 224, 224)
    >>> preprocessing.with_image_size(518, patch_size=14).resize
    592
    >>> preprocessing.keep_aspect(patch_size=14).output_size(width=640, height=480)
    (224, 294)
    """

    resize: int | tuple[int, int] | None = 256
    crop: tuple[int, int] | None = (224, 224)
    resample: int = int(Image.Resampling.BICUBIC)
    rescale: float | None = 1 / 255
    mean: tuple[float, float, float] | None = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] | None = (0.229, 0.224, 0.225)
    multiple: int | None = None
    longest_edge: int | None = None
    crop_mode: str = "center"

    def __post_init__(self) -> None:
        for name in ("resize", "crop", "multiple", "longest_edge"):
            value = getattr(self, name)
            edges = value if isinstance(value, tuple) else (value,)
            if value is not None and not all(isinstance(e, int) and e >= 1 for e in edges):
                raise ValueError(f"{name} must be made of integers of 1 or more, got {value!r}.")
        if self.resample not in set(Image.Resampling):
            raise ValueError(f"resample must be one of PIL.Image.Resampling, got {self.resample}.")
        if (self.mean is None) != (self.std is None):
            raise ValueError(f"mean and std go together, got {self.mean} and {self.std}.")
        for values in (self.mean, self.std):
            if values is not None and len(values) != 3:
                raise ValueError(f"mean and std have a value for each channel, got {values}.")
        if self.std is not None and not all(value > 0 for value in self.std):
            raise ValueError(f"std must be positive, got {self.std}.")
        if self.multiple is not None and not (
            isinstance(self.resize, int) and self.crop is None and self.longest_edge is not None
        ):
            raise ValueError("multiple needs an int resize, a longest_edge and no crop.")
        if self.crop_mode not in _CROP_MODES:
            raise ValueError(
                f"crop_mode must be one of {', '.join(map(repr, _CROP_MODES))}, got "
                f"{self.crop_mode!r}."
            )
        if self.crop_mode != "center" and self.multiple is not None:
            raise ValueError(
                f"keep_aspect shows whole images already: crop_mode={self.crop_mode!r} has no "
                "place beside it. Leave one of them out."
            )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Preprocessing":
        """Read the contents of a checkpoint's ``preprocessor_config.json``.

        Parameters
        ----------
        config : dict
            The parsed file: ``size`` (``shortest_edge``, or ``height`` and ``width``, or an int),
            ``crop_size``, ``resample``, ``rescale_factor``, ``image_mean``, ``image_std`` and
            the switches ``do_resize``, ``do_center_crop``, ``do_rescale``, ``do_normalize``. A
            switch that is not there counts as on, that of the crop where there is a
            ``crop_size``. An int ``size`` is the shortest edge if a crop follows, else a square,
            unless ``default_to_square`` says otherwise.

        Returns
        -------
        Preprocessing

        Raises
        ------
        ValueError
            Where a value is missing or of an unknown form, or a step is asked for that is none
            of these: leaving it out in silence would give wrong embeddings.

        Examples
        --------
        >>> from dinov2_sklearn.images import Preprocessing
        >>> config = {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224},
        ...           "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
        >>> Preprocessing.from_config(config).mean
        (0.5, 0.5, 0.5)
        """
        return cls(**read_config(config))

    @property
    def base_size(self) -> tuple[int, int]:
        """(height, width) in pixels that the model gets; of square edges under `keep_aspect`."""
        if self.crop is not None:
            return self.crop
        if self.resize is None:
            raise ValueError("There is no base size: the images are neither resized nor cropped.")
        return self.resize if isinstance(self.resize, tuple) else (self.resize, self.resize)

    @property
    def min_size(self) -> int | None:
        """Shortest edge in pixels that decoding must leave; None where there is no resize."""
        if self.crop_mode != "center":
            return max(self.base_size)
        return max(self.resize) if isinstance(self.resize, tuple) else self.resize

    def with_image_size(self, size: int, patch_size: int) -> "Preprocessing":
        """Ask for square images of another size.

        Parameters
        ----------
        size : int
            Edge in pixels; rounded to the nearest multiple of ``patch_size``, one at least.
        patch_size : int
            Edge of a patch in pixels.

        Returns
        -------
        Preprocessing
            The edge to which images are resized grows in proportion to the crop's.
        """
        if size < 1:
            raise ValueError(f"size must be 1 or more, got {size}.")
        edge = _to_multiple(size, patch_size)
        return self._with_base_size((edge, edge))

    def scaled(self, factor: float, patch_size: int) -> "Preprocessing":
        """Ask for images ``factor`` times as large.

        Parameters
        ----------
        factor : float
            Relative to `base_size`; each edge is rounded to the nearest multiple of
            ``patch_size``, one at least.
        patch_size : int
            Edge of a patch in pixels.

        Returns
        -------
        Preprocessing
        """
        if not (math.isfinite(factor) and factor > 0):
            raise ValueError(f"factor must be positive and finite, got {factor}.")
        height, width = self.base_size
        return self._with_base_size(
            (_to_multiple(height * factor, patch_size), _to_multiple(width * factor, patch_size))
        )

    def _with_base_size(self, new: tuple[int, int]) -> "Preprocessing":
        old = self.base_size
        ratio = min(new) / min(old)
        resize: int | tuple[int, int] | None
        if isinstance(self.resize, tuple):
            resize = (
                round(self.resize[0] * new[0] / old[0]),
                round(self.resize[1] * new[1] / old[1]),
            )
        else:
            resize = None if self.resize is None else max(1, round(self.resize * ratio))
        longest = self.longest_edge
        if longest is not None and self.multiple is not None:
            longest = _to_multiple(longest * ratio, self.multiple)
        return replace(self, resize=resize, crop=self.crop and new, longest_edge=longest)

    def keep_aspect(self, patch_size: int, longest_edge: int | None = None) -> "Preprocessing":
        """Ask for whole images: no crop, edges that are multiples of the patch.

        Parameters
        ----------
        patch_size : int
            Edge of a patch in pixels.
        longest_edge : int, default=None
            Largest edge in pixels. An image that would be longer is made smaller, so that its
            aspect ratio stays. None means four times the shortest edge.

        Returns
        -------
        Preprocessing
            The shortest edge becomes that of `base_size`, the other one the nearest multiple of
            ``patch_size``.
        """
        short = _to_multiple(min(self.base_size), patch_size)
        longest = 4 * short if longest_edge is None else longest_edge
        if longest < patch_size:
            raise ValueError(f"longest_edge must hold a patch of {patch_size}, got {longest}.")
        longest -= longest % patch_size
        return replace(self, resize=short, crop=None, multiple=patch_size, longest_edge=longest)

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        """Tell what size an image becomes.

        Parameters
        ----------
        width, height : int
            Size of the image in pixels.

        Returns
        -------
        (int, int)
            Height and width of the result.
        """
        return self._canvas() or self._resized_size(width, height)

    def window(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Tell which part of an image the model sees.

        Parameters
        ----------
        width, height : int
            Size of the image in pixels.

        Returns
        -------
        (float, float, float, float)
            Left, top, right and bottom in pixels of the image. They reach beyond it where it is
            padded.
        """
        rows, columns = self._resized_size(width, height)
        height_seen, width_seen = self._canvas() or (rows, columns)
        top, left = (rows - height_seen) // 2, (columns - width_seen) // 2
        x, y = width / columns, height / rows
        return left * x, top * y, (left + width_seen) * x, (top + height_seen) * y

    def cuts(self, width: int, height: int) -> bool:
        """Tell whether more than a third of an image is not seen because of its shape.

        Parameters
        ----------
        width, height : int
            Size of the image in pixels.

        Returns
        -------
        bool
            Of a square image the same crop is taken for the whole.
        """

        def seen(width: int, height: int) -> float:
            left, top, right, bottom = self.window(width, height)
            across, down = min(right, width) - max(left, 0), min(bottom, height) - max(top, 0)
            return across * down / (width * height)

        edge = max(width, height)
        return seen(width, height) < 0.66 * seen(edge, edge)

    def _canvas(self) -> tuple[int, int] | None:
        """(height, width) of what is cut from the resized image, or what it is laid on."""
        return self.crop if self.crop_mode == "center" else self.base_size

    def _resized_size(self, width: int, height: int) -> tuple[int, int]:
        if self.crop_mode != "center":
            return self._fitted_size(width, height)
        if self.resize is None:
            return height, width
        if isinstance(self.resize, tuple):
            return self.resize
        short, long = sorted((width, height))
        if self.multiple is None:
            edges = self.resize, int(self.resize * long / short)
        else:
            edges = self._whole_patches(long / short)
        return edges if height <= width else edges[::-1]

    def _fitted_size(self, width: int, height: int) -> tuple[int, int]:
        rows, columns = self.base_size
        if self.crop_mode == "squash":
            return rows, columns
        scale = min(rows / height, columns / width)
        return max(1, round(height * scale)), max(1, round(width * scale))

    def _whole_patches(self, aspect: float) -> tuple[int, int]:
        assert isinstance(self.resize, int)
        assert self.multiple is not None
        assert self.longest_edge is not None
        long = _to_multiple(self.resize * aspect, self.multiple)
        if long <= self.longest_edge:
            return self.resize, long
        return _to_multiple(self.longest_edge / aspect, self.multiple), self.longest_edge

    def to_display(self, image: Image.Image) -> NDArray[np.uint8]:
        """Compute the picture that the model sees, before rescaling and normalisation.

        Parameters
        ----------
        image : PIL.Image.Image
            Of mode RGB.

        Returns
        -------
        ndarray of shape (height, width, 3), dtype uint8
        """
        return np.array(self._resize_and_crop(image))

    def __call__(
        self, image: Image.Image, out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Compute the pixel values of one image.

        Parameters
        ----------
        image : PIL.Image.Image
            Of mode RGB, as `load_image` gives.
        out : ndarray of shape (3, height, width), dtype float32, default=None
            Where to write; `output_size` tells the shape.

        Returns
        -------
        ndarray of shape (3, height, width), dtype float32
            ``out`` if given, else a new C-contiguous array.
        """
        return self.normalize(np.asarray(self._resize_and_crop(image)), out)

    def normalize(
        self, picture: NDArray[np.uint8], out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Compute the pixel values of a picture that `to_display` has made.

        Parameters
        ----------
        picture : ndarray of shape (height, width, 3), dtype uint8
            The picture that the model sees.
        out : ndarray of shape (3, height, width), dtype float32, default=None
            Where to write.

        Returns
        -------
        ndarray of shape (3, height, width), dtype float32
            As calling this object with the image itself.
        """
        pixels = picture.transpose(2, 0, 1)
        if out is None:
            out = np.empty(pixels.shape, dtype=np.float32)
        elif out.shape != pixels.shape or out.dtype != np.float32:
            raise ValueError(
                f"out must be float32 of shape {pixels.shape}, got {out.dtype} of {out.shape}."
            )
        scale, bias = self.scale_and_bias
        np.multiply(pixels, scale[:, None, None], out=out)
        return np.add(out, bias[:, None, None], out=out)

    @property
    def scale_and_bias(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What `normalize` multiplies 8-bit values by and then adds, of each channel."""
        scale = np.full(3, 1.0 if self.rescale is None else self.rescale)
        bias = np.zeros(3)
        if self.mean is not None and self.std is not None:
            scale /= self.std
            bias = -np.divide(self.mean, self.std)
        return scale.astype(np.float32), bias.astype(np.float32)

    def _resize_and_crop(self, image: Image.Image) -> Image.Image:
        if image.mode != "RGB":
            raise ValueError(
                f"The image must be of mode RGB, got {image.mode!r}; load_image makes it so."
            )
        height, width = self._resized_size(*image.size)
        canvas = self._canvas()
        if canvas is None:
            return image.resize((width, height), self.resample)
        top, left = (height - canvas[0]) // 2, (width - canvas[1]) // 2
        if height * width > _MOST_RESIZED_PIXELS:
            part, at = self._resize_middle(image, (width, height), (left, top), canvas)
        else:
            # Not resize(box=), although it would compute less: Pillow (from version 13) picks the
            # order of its two passes by the sizes, and after the other order hard edges are tens
            # of levels apart.
            part, at = image.resize((width, height), self.resample), (-left, -top)
        if part.size == canvas[::-1] and at == (0, 0):
            return part
        shown = Image.new("RGB", canvas[::-1], self._border())
        shown.paste(part, at)
        return shown

    def _resize_middle(
        self,
        image: Image.Image,
        size: tuple[int, int],
        corner: tuple[int, int],
        canvas: tuple[int, int],
    ) -> tuple[Image.Image, tuple[int, int]]:
        """Compute the part of a resized image that its crop keeps, and where it lies in that."""
        starts = [max(0, at) for at in corner]
        stops = [min(size[i], corner[i] + canvas[1 - i]) for i in (0, 1)]
        scales = [image.size[i] / size[i] for i in (0, 1)]
        left, top, right, bottom = (
            edges[i] * scales[i] for edges in (starts, stops) for i in (0, 1)
        )
        pixels = stops[0] - starts[0], stops[1] - starts[1]
        part = image.resize(pixels, self.resample, (left, top, right, bottom))
        return part, (starts[0] - corner[0], starts[1] - corner[1])

    def _border(self) -> tuple[int, ...]:
        if self.crop_mode != "pad":
            return (0, 0, 0)  # as image processors do
        if self.mean is None:
            return (128, 128, 128)
        scale = 1 / 255 if self.rescale is None else self.rescale
        return tuple(int(np.clip(round(mean / scale), 0, 255)) for mean in self.mean)


def _to_multiple(length: float, multiple: int) -> int:
    if multiple < 1:
        raise ValueError(f"patch_size must be 1 or more, got {multiple}.")
    return max(1, math.floor(length / multiple + 0.5)) * multiple
