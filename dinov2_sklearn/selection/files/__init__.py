"""Selections in files: written, read back, and their images gathered in a folder."""

from ._copies import copy_images
from ._reading import PAGE_FORMAT, load_selection
from ._writing import write_selection

__all__ = ["PAGE_FORMAT", "copy_images", "load_selection", "write_selection"]
