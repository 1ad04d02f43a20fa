"""Parts of a file, as an address names them after its ``#``: a box, a moment, a page, a row.

The words are those of W3C Media Fragments, and PDF's ``page``; rows of tables are our own.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any
from urllib.parse import quote, unquote

__all__ = ["Fragment", "split_fragment"]

_FRAGMENT = re.compile(r"#((?:xywh|t|page|row|column)=[^#]*)\Z", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_NOISE = 1e-6  # pixels by which the edges of a box in percent are rounded


def split_fragment(address: str) -> tuple[str, str]:
    """Return an address before the ``#`` of a fragment, and what comes after; empty without one."""
    found = _FRAGMENT.search(address) if "#" in address else None
    return (address, "") if found is None else (address[: found.start()], found[1])


@dataclass(frozen=True, slots=True)
class Fragment:
    """Which part of a file is the image.

    Parameters
    ----------
    box : tuple of float, default=None
        Left, upper edge, width and height.
    is_percent : bool, default=False
        Whether the box is in percent of the picture and not in pixels.
    time : Fraction, default=None
        Seconds from a video's beginning.
    page : int, default=None
        Of a stack or an animation, from 1.
    row : int, default=None
        Of a parquet file, from 0.
    column : str, default=None
        Of that file.

    Examples
    --------
    >>> from dinov2_sklearn.images import Fragment
    >>> str(Fragment.parse("xywh=percent:25,25,50,50&page=3"))
    'page=3&xywh=percent:25,25,50,50'
    """

    box: tuple[float, float, float, float] | None = None
    is_percent: bool = False
    time: Fraction | None = None
    page: int | None = None
    row: int | None = None
    column: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Fragment":
        """Read what comes after the ``#``.

        Raises
        ------
        ValueError
            If it is no fragment; the message says how one looks.
        """
        parts: dict[str, Any] = {}
        for part in text.split("&"):
            name, _, value = part.partition("=")
            if name not in _READERS or name in parts:
                why = "stands twice" if name in parts else f"is none of {', '.join(_READERS)}"
                raise ValueError(f"in its fragment {text!r}, {name!r} {why}")
            try:
                parts[name] = _READERS[name](value)
            except ValueError as error:
                raise ValueError(f"its fragment {part!r} is no {_LOOKS[name]}{error}") from None
        box, is_percent = parts.pop("xywh", (None, False))
        return cls(box, is_percent, parts.pop("t", None), **parts)

    def __str__(self) -> str:
        parts = {"page": self.page, "row": self.row}
        named = [f"{name}={value}" for name, value in parts.items() if value is not None]
        if self.column is not None:
            named.append(f"column={quote(self.column, safe='')}")
        if self.time is not None:
            named.append(f"t={short(float(self.time))}")
        if self.box is not None:
            unit = "percent:" if self.is_percent else ""
            named.append(f"xywh={unit}{','.join(map(short, self.box))}")
        return "&".join(named)

    @property
    def only_box(self) -> "Fragment":
        """The box alone, without the page, the time or the row that it lies in."""
        return Fragment(self.box, self.is_percent)

    @property
    def within_row(self) -> "Fragment":
        """The part of what is in a row, wherever that row is."""
        return replace(self, row=None, column=None)

    def pixels(self, width: int, height: int) -> tuple[tuple[int, int, int, int], bool]:
        """Return the box's edges within a picture, and whether a part of it lay outside.

        Raises
        ------
        ValueError
            If all of it lies outside.
        """
        assert self.box is not None
        scale = (width / 100, height / 100) * 2 if self.is_percent else (1.0,) * 4
        x, y, w, h = (value * factor for value, factor in zip(self.box, scale, strict=True))
        left, upper = math.floor(x + _NOISE), math.floor(y + _NOISE)
        right, lower = math.ceil(x + w - _NOISE), math.ceil(y + h - _NOISE)
        inside = max(left, 0), max(upper, 0), min(right, width), min(lower, height)
        if inside[0] >= inside[2] or inside[1] >= inside[3]:
            raise ValueError(
                f"its box {str(self)!r} lies outside the picture of {width} x {height} pixels"
            )
        return inside, inside != (left, upper, right, lower)


def short(value: float) -> str:
    """Write a number as it was given, without what floats add."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _box(text: str) -> tuple[tuple[float, ...], bool]:
    unit, colon, numbers = text.rpartition(":")
    if colon and unit not in ("percent", "pixel"):
        raise ValueError(f" (the unit {unit!r} is not known)")
    box = tuple(_number(part) for part in numbers.split(","))
    if len(box) != 4:
        raise ValueError
    if box[2] <= 0 or box[3] <= 0:
        raise ValueError(" (it has no area)")
    if unit == "percent" and max(box) > 100:
        raise ValueError(f" (percent end at 100, and it has {short(max(box))})")
    return box, unit == "percent"


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise ValueError
    return float(text)


def _time(text: str) -> Fraction:
    text = text.removeprefix("npt:").removesuffix("s")
    if not _NUMBER.fullmatch(text) or (value := Fraction(text)) < 0:
        raise ValueError
    return value


def _count(text: str, least: int) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) < least:
        raise ValueError
    return int(text)


_READERS: dict[str, Callable[[str], Any]] = {
    "xywh": _box,
    "t": _time,
    "page": lambda text: _count(text, 1),
    "row": lambda text: _count(text, 0),
    "column": unquote,
}
_LOOKS = {
    "xywh": "box such as xywh=160,120,320,240 or xywh=percent:25,25,50,50",
    "t": "time such as t=12.5, in seconds",
    "page": "page such as page=3, counted from 1",
    "row": "row such as row=17, counted from 0",
    "column": "column",
}
