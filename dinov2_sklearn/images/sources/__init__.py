"""Where images come from: folders, globs, URLs, tables and lists."""

from ._boxes import list_boxes
from ._sources import list_frames, list_images, list_rows
from ._tables import (
    below_folder_of,
    check_column,
    is_dataset,
    is_frame,
    is_listing,
    is_missing,
    read_table,
)

__all__ = [
    "below_folder_of",
    "check_column",
    "is_dataset",
    "is_frame",
    "is_listing",
    "is_missing",
    "list_boxes",
    "list_frames",
    "list_images",
    "list_rows",
    "read_table",
]
