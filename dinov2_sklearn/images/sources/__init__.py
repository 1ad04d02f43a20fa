"""Where images are: folders, globs, tables, lists and URLs, as lists of addresses."""

from ._sources import IMAGE_EXTENSIONS, list_images

__all__ = ["IMAGE_EXTENSIONS", "list_images"]
