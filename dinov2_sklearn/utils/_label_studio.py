"""How Label Studio's local storage names files."""

import os
from urllib.parse import quote, unquote_to_bytes

__all__ = ["from_local_storage", "to_local_storage"]

_PREFIX = "/data/local-files/?d="


def to_local_storage(path: str) -> str:
    """Return the URL under which the server shows a file below its document root."""
    # The server reads the path from the URL's query: what has a meaning there is escaped.
    return _PREFIX + quote(os.fsencode(path), safe="/")


def from_local_storage(url: str) -> str | None:
    """Return the path of such a URL; None of any other."""
    if not url.startswith(_PREFIX):
        return None
    return os.fsdecode(unquote_to_bytes(url.removeprefix(_PREFIX)))
