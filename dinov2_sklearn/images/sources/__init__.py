"""Where images come from: folders, globs, URLs, tables and lists."""

from ._sources import list_images
from ._tables import below_folder_of, check_column, is_frame, is_listing, is_missing, read_table

__all__ = [
    "below_folder_of",
    "check_column",
    "is_frame",
    "is_listing",
    "is_missing",
    "list_images",
    "read_table",
]
