"""Frames of videos, by PyAV."""

import hashlib
import threading
from collections.abc import Callable
from fractions import Fraction
from typing import IO, Any

from PIL import Image

from ..utils import import_extra

__all__ = ["Video"]

# Seconds that are decoded rather than skipped, in a file without an index of its key frames.
_NEAR = 5


class Video:
    """A video that is held open, so that frames near each other are decoded on from one another.

    What it cannot give raises a ValueError.

    Parameters
    ----------
    open : callable
        Opens the file.
    """

    def __init__(self, open: Callable[[], IO[bytes]]) -> None:
        self.lock = threading.Lock()
        self._av = import_extra("av", "video", "Videos")
        self._file = open()
        try:
            self._container = self._av.open(self._file)
        except self._av.FFmpegError as error:
            self._file.close()
            raise ValueError(f"it is no video that can be read ({error.strerror})") from error
        if not self._container.streams.video:
            raise ValueError("it has no pictures, only sound")
        self._stream = self._container.streams.video[0]
        # What is damaged is not to be filled in.
        self._stream.codec_context.options = {"err_detect": "explode"}
        self._start = self._stream.start_time or 0
        self._frames: Any = None
        # The frame that is shown, and the one after it, which says how long.
        self._last: Any = None
        self._next: Any = None

    def __del__(self) -> None:
        if hasattr(self, "_container"):
            self._container.close()
            self._file.close()

    @property
    def digest(self) -> bytes:
        """Twenty bytes that tell this file from any other."""
        with self.lock:
            position = self._file.tell()
            self._file.seek(0)
            digest = hashlib.file_digest(self._file, lambda: hashlib.blake2b(digest_size=20))  # type: ignore[arg-type]
            self._file.seek(position)
        return digest.digest()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its frames, before they are turned."""
        return self._stream.width, self._stream.height

    @property
    def duration(self) -> Fraction:
        """Seconds that it lasts, as its header says."""
        if self._stream.duration is not None:
            return self._stream.duration * self._stream.time_base
        if self._container.duration is not None:
            return Fraction(self._container.duration, self._av.time_base)
        raise ValueError("it does not say how long it lasts")

    def frame(self, time: Fraction) -> Image.Image:
        """Return the frame that is shown at a time, in seconds from the beginning."""
        wanted = self._start + int(time / self._stream.time_base)
        try:
            frame = self._advance(wanted, seek=self._is_elsewhere(wanted))
            if frame is None:  # a key frame that an index names may come later than it says
                self._seek(self._start)
                frame = self._advance(wanted, seek=False)
        except self._av.FFmpegError as error:
            self._frames = None
            raise ValueError(
                f"the video is damaged near {float(time):g} s ({error.strerror})"
            ) from error
        if frame is None:
            raise ValueError(f"the video has no frame at {float(time):g} s: it begins later")
        if self._next is None and wanted >= frame.pts + self._duration_of(frame):
            begins = float((frame.pts - self._start) * self._stream.time_base)
            raise ValueError(
                f"the video has no frame at {float(time):g} s: its last begins at {begins:g} s"
            )
        if frame.is_corrupt:
            raise ValueError(f"the video is damaged at {float(time):g} s")
        image = frame.to_image()
        return image.rotate(frame.rotation, expand=True) if frame.rotation else image

    def _advance(self, wanted: int, seek: bool) -> Any:
        """Decode on until a frame comes that is shown later; None where the first one does."""
        if seek:
            self._seek(wanted)
        while self._next is not None and self._next.pts <= wanted:
            self._last, self._next = self._next, next(self._frames, None)
        return self._last

    def _seek(self, wanted: int) -> None:
        self._frames = None
        self._container.seek(wanted, stream=self._stream)
        self._frames = (f for f in self._container.decode(self._stream) if f.pts is not None)
        self._last, self._next = None, next(self._frames, None)

    def _is_elsewhere(self, wanted: int) -> bool:
        """Whether it is better to jump there than to decode all frames until it comes."""
        if self._frames is None or self._last is None or wanted < self._last.pts:
            return True
        index = getattr(self._stream, "index_entries", None)  # newer than the oldest PyAV allowed
        if index is not None and (entry := index.search_timestamp(wanted, backward=True)) >= 0:
            return index[entry].timestamp > self._last.pts
        return (wanted - self._last.pts) * self._stream.time_base > _NEAR

    def _duration_of(self, frame: Any) -> int:
        if getattr(frame, "duration", 0):  # which older versions of PyAV do not tell
            return frame.duration
        rate = self._stream.average_rate
        return max(1, int(1 / rate / self._stream.time_base)) if rate else 1
