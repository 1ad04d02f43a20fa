"""Pages of one file that a browser opens without a network: their assembly, and thumbnails."""

from ._assembly import bundle, check_page_name, compressed, packed, render_page
from ._thumbnails import LEFT_OUT, link_files, make_thumbnails

__all__ = [
    "LEFT_OUT",
    "bundle",
    "check_page_name",
    "compressed",
    "link_files",
    "make_thumbnails",
    "packed",
    "render_page",
]
