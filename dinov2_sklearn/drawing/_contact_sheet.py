"""Images side by side on one picture."""

from bisect import bisect_left
from collections.abc import Sequence
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from ..images import (
    ImageDecodeError,
    ImageRef,
    ImageSource,
    check_images,
    load_image,
    map_ahead,
    warn_of_failures,
)

__all__ = ["contact_sheet"]

_COLUMNS, _TILE_SIZE = 6, (220, 165)
_TITLE_SIZE, _CAPTION_SIZE, _GAP = 22, 15, 12
_TITLE_HEIGHT, _CAPTION_HEIGHT = 48, 26
_PAPER, _INK, _FAINT_INK, _PLACEHOLDER = "#ffffff", "#222222", "#444444", "#d0d0d0"
_READERS = 4
# What a JPEG file can hold, in Pillow too.
_LONGEST_SIDE = 65_500


def contact_sheet(
    images: Any,
    captions: Sequence[object] | None = None,
    *,
    title: str | None = None,
    columns: int = _COLUMNS,
    tile_size: tuple[int, int] = _TILE_SIZE,
) -> Image.Image:
    """Lay images out side by side, row by row, each over a line of text.

    Parameters
    ----------
    images : sequence of str, PathLike, PIL.Image.Image or ndarray
        What to show, in reading order, such as ``paths[sampler.selected_indices_]``.
    captions : sequence, default=None
        What stands below each. None numbers them from 1, and adds the names of files.
    title : str, default=None
        A line above all of them.
    columns : int, default=6
        Images in a row.
    tile_size : (int, int), default=(220, 165)
        Width and height in pixels to which each image is resized, cropped around its middle.

    Returns
    -------
    PIL.Image.Image
        An RGB image: the last line of a notebook's cell shows it, and ``.save("sheet.jpg")`` writes
        it.

    Raises
    ------
    ValueError
        If there are no images, or not as many captions; if `columns` or `tile_size` is below 1; or
        if the sheet would have more pixels than ``PIL.Image.MAX_IMAGE_PIXELS``, or a side longer
        than the 65,500 of a JPEG file.
    TypeError
        If an element is no image.

    Warns
    -----
    UserWarning
        Of images that cannot be decoded, with the cause. They are grey tiles.

    Notes
    -----
    Text that is wider than a tile is cut in the middle. The font is Pillow's own, which knows
    Latin letters: others are drawn as boxes.

    Examples
    --------
    >>> import numpy as np
    >>> from dinov2_sklearn import contact_sheet
    >>> gray = np.full((60, 80, 3), 128, dtype=np.uint8)
    >>> contact_sheet([gray] * 3, ["a", "b", "c"], columns=2, tile_size=(80, 60)).size
    (196, 208)
    """
    checked = check_images(images, estimator_name="contact_sheet")
    sheet, errors = draw_sheet(checked, captions, title=title, columns=columns, tile_size=tile_size)
    if errors:
        told = f"{len(errors)} of {len(checked)} images could not be decoded and are grey tiles"
        warn_of_failures(errors, told)
    return sheet


def draw_sheet(
    images: Sequence[ImageSource],
    captions: Sequence[object] | None = None,
    *,
    title: str | None = None,
    columns: int = _COLUMNS,
    tile_size: tuple[int, int] = _TILE_SIZE,
) -> tuple[Image.Image, list[ImageDecodeError]]:
    """Draw what `contact_sheet` returns; return that, and why images are missing on it."""
    texts = _captions(images, captions)
    if not (_is_count(columns) and np.shape(tile_size) == (2,) and all(map(_is_count, tile_size))):
        raise ValueError(
            "columns and both lengths of tile_size must be whole numbers of 1 or more, got "
            f"{columns!r} and {tile_size!r}."
        )
    columns = min(columns, len(images))
    top = _GAP if title is None else _TITLE_HEIGHT
    step = tile_size[0] + _GAP, tile_size[1] + _CAPTION_HEIGHT + _GAP
    size = columns * step[0] + _GAP, -(-len(images) // columns) * step[1] + top
    _refuse_huge(size, len(images), columns, tile_size)

    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    if title is not None:
        _write(draw, (_GAP, _GAP), str(title), size[0] - 2 * _GAP, _INK, _TITLE_SIZE)
    tiles = map_ahead(partial(_tile, size=tile_size), images, num_workers=_READERS, ahead=16)
    errors = []
    for i, (tile, text) in enumerate(zip(tiles, texts, strict=True)):
        left, upper = _GAP + i % columns * step[0], top + i // columns * step[1]
        if isinstance(tile, ImageDecodeError):
            errors.append(tile)
            tile = Image.new("RGB", tile_size, _PLACEHOLDER)
        sheet.paste(tile, (left, upper))
        # Around it, or a picture as white as the paper could not be told from a missing one.
        frame = left - 1, upper - 1, left + tile_size[0], upper + tile_size[1]
        draw.rectangle(frame, outline=_PLACEHOLDER)
        below = left, upper + tile_size[1] + 4
        _write(draw, below, text, tile_size[0], _FAINT_INK, _CAPTION_SIZE)
    return sheet, errors


def _is_count(value: object) -> bool:
    return isinstance(value, Integral) and int(value) >= 1


def _captions(images: Sequence[ImageSource], captions: Sequence[object] | None) -> list[str]:
    if captions is None:
        return [f"{number}  {_name(image)}" for number, image in enumerate(images, start=1)]
    texts = [str(caption) for caption in captions]
    if len(texts) != len(images):
        raise ValueError(f"There are {len(images)} images and {len(texts)} captions.")
    return texts


def _name(image: ImageSource) -> str:
    if not isinstance(image, str):
        return ""
    # What follows the question mark of a URL may be longer than the rest, and a secret.
    ref = ImageRef(image.partition("?")[0] if ImageRef(image).is_url else image)
    return f"{ref.name}#{ref.fragment}" if ref.is_part else ref.name


def _refuse_huge(
    size: tuple[int, int], n_images: int, columns: int, tile_size: tuple[int, int]
) -> None:
    n_pixels, most = size[0] * size[1], Image.MAX_IMAGE_PIXELS
    if most is not None and n_pixels > most:
        raise ValueError(
            f"A sheet of {n_images} images of {tile_size[0]} x {tile_size[1]} pixels would have "
            f"{n_pixels / 1e6:.0f} million pixels, more than the {most / 1e6:.0f} million that "
            "programs open. Show fewer images, or make tile_size smaller."
        )
    if max(size) > _LONGEST_SIDE:
        raise ValueError(
            f"A sheet of {n_images} images in {columns} columns would be {size[0]} x {size[1]} "
            f"pixels, and files hold up to {_LONGEST_SIDE} a side. Use more columns for a tall "
            "sheet, fewer for a wide one."
        )


def _tile(image: ImageSource, size: tuple[int, int]) -> Image.Image | ImageDecodeError:
    try:
        picture = load_image(image, min_size=max(size), exact=False)
    except ImageDecodeError as error:
        return error
    return ImageOps.fit(picture, size, Image.Resampling.LANCZOS)


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    width: int,
    color: str,
    font_size: int,
) -> None:
    font = ImageFont.load_default(font_size)
    # A file's name may hold line breaks, and bytes that are no text.
    text = "".join(" " if c.isspace() else c if c.isprintable() else "?" for c in text)

    def without(n_letters: int) -> str:
        begin = (len(text) - n_letters) // 2
        return f"{text[:begin]}...{text[begin + n_letters :]}"

    def fits(shown: str) -> bool:
        return bool(font.getlength(shown) <= width)

    if not fits(text):
        n_letters = bisect_left(range(len(text)), True, key=lambda n: fits(without(n)))
        text = without(n_letters)
    if fits(text):  # in a narrow tile, not even the dots do
        draw.text(place, text, fill=color, font=font)
