"""Files that Pillow refuses although every pixel is there."""

import struct
from io import BytesIO

from PIL import Image

__all__ = ["with_end_marker", "without_text"]

_END_OF_IMAGE = b"\xff\xd9"
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")


def with_end_marker(content: bytes) -> bytes | None:
    """Complete a JPEG that lacks its end marker, if it lacks no pixel."""
    ended = content + _END_OF_IMAGE
    # What is missing is made up from the bytes that follow, so that other bytes make other pixels.
    followed = content + b"\xaa\x55" * 32 + _END_OF_IMAGE
    try:
        pixels = [Image.OPEN["JPEG"][0](BytesIO(data), "").tobytes() for data in (ended, followed)]
    except Exception:  # it lacks more than that
        return None
    return ended if pixels[0] == pixels[1] else None


def without_text(content: bytes) -> bytes:
    """Leave out a PNG's texts, which are no part of its picture and may be too long for Pillow."""
    kept, at = [content[:8]], 8
    while at + 12 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        if content[at + 4 : at + 8] not in _TEXT_CHUNKS:
            kept.append(content[at : at + 12 + length])
        at += 12 + length
    return b"".join(kept)
