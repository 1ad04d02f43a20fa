"""What the model sees of an image, and where in the image it is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..backbone import Checkpoint
from ..images import ImageDecodeError, ImageSource, Preprocessing, decode_image

__all__ = ["Seen", "see", "whole_patches"]


@dataclass(frozen=True, eq=False)
class Seen:
    """One image, resized and cropped.

    Attributes
    ----------
    pixels : ndarray of shape (3, height, width), dtype float32
        What goes into the model.
    image : ndarray of shape (height, width, 3), dtype uint8
        The same as a picture.
    original_shape : (int, int)
        (height, width) of the upright original.
    window : (float, float, float, float)
        (left, top, right, bottom) of the part seen, in pixels of the original.
    """

    pixels: NDArray[np.float32]
    image: NDArray[np.uint8]
    original_shape: tuple[int, int]
    window: tuple[float, float, float, float]


def see(source: ImageSource, preprocessing: Preprocessing) -> Seen | ImageDecodeError:
    """Decode and preprocess one image; an error is returned, to be raised in its turn."""
    try:
        image, (width, height) = decode_image(source, min_size=preprocessing.min_size, exact=False)
    except ImageDecodeError as error:
        return error
    x, y = width / image.width, height / image.height
    left, top, right, bottom = preprocessing.window(*image.size)
    picture = preprocessing.to_display(image)
    return Seen(
        pixels=preprocessing.normalize(picture),
        image=picture,
        original_shape=(height, width),
        window=(left * x, top * y, right * x, bottom * y),
    )


def whole_patches(
    checkpoint: Checkpoint, image_size: int | None, keep_aspect: bool
) -> tuple[Preprocessing, str | None]:
    """Return the checkpoint's recipe at the size asked for, in whole patches.

    Parameters
    ----------
    checkpoint : Checkpoint
        Whose recipe and patch.
    image_size : int or None
        Edge in pixels; None means the checkpoint's own.
    keep_aspect : bool
        Whether nothing is cropped.

    Returns
    -------
    preprocessing : Preprocessing
        Whose sizes are multiples of the patch.
    rounded : str or None
        What was asked for and what is used instead, where they differ.
    """
    recipe, patch = checkpoint.preprocessing, checkpoint.patch_size
    if image_size is not None:
        asked, what = (int(image_size),) * 2, f"image_size={image_size}"
        recipe = recipe.with_image_size(int(image_size), patch)
    else:
        asked = recipe.base_size
        what = f"The checkpoint's own image size {asked[0]} x {asked[1]}"
        if any(edge % patch for edge in asked):
            recipe = recipe.scaled(1.0, patch)
    # A recipe without a crop asks for whole images too, but not for whole patches.
    if keep_aspect or (recipe.crop is None and not isinstance(recipe.resize, tuple)):
        recipe = recipe.keep_aspect(patch)
    if not any(edge % patch for edge in asked):
        return recipe, None
    height, width = recipe.base_size
    return recipe, (
        f"{what} is not a multiple of the model's patch of {patch} pixels; {height} x {width} is "
        "used."
    )
