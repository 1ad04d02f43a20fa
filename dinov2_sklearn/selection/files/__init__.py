"""Selections in files: written, read back, and their images gathered in a folder."""

from ._copies import copy_images, write_yolo
from ._files import load_selection, read_selection, write_selection
from ._formats import PAGE_FORMAT
from ._selection import COLUMNS, Selection

__all__ = [
    "COLUMNS",
    "PAGE_FORMAT",
    "Selection",
    "copy_images",
    "load_selection",
    "read_selection",
    "write_selection",
    "write_yolo",
]
