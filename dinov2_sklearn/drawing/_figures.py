"""Saving what the displays draw."""

import io
import os
from pathlib import Path
from typing import Any

from ..utils import atomic_write

__all__ = ["SavableFigureMixin", "check_extension"]

_EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".pdf", ".svg")


class SavableFigureMixin:
    """Mixin of displays: `save`, and their picture in a notebook.

    The display has a method ``plot()`` that sets ``figure_``.
    """

    figure_: Any

    def save(self, path: str | os.PathLike[str], dpi: float = 150) -> None:
        """Write the figure, which is drawn first where it is not yet.

        The file is complete or not there: it is written under another name and then renamed.

        Parameters
        ----------
        path : str or path
            File to write; its extension says the format: .png, .jpg, .webp, .tif, .pdf or .svg.
        dpi : float, default=150
            Pixels an inch.

        Raises
        ------
        ValueError
            For another extension.
        FileNotFoundError
            If the folder does not exist.
        """
        import matplotlib as mpl

        extension = check_extension(path)
        if not hasattr(self, "figure_"):
            self.plot()  # type: ignore[attr-defined]
        # No dates and no random ids: the same picture is the same file.
        undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(extension)
        with atomic_write(path) as file, mpl.rc_context({"svg.hashsalt": "dinov2_sklearn"}):
            self.figure_.figure.savefig(file, format=extension[1:], dpi=dpi, metadata=undated)

    def _repr_png_(self) -> bytes | None:
        """Show a drawn display in a notebook."""
        if not hasattr(self, "figure_"):
            return None
        picture = io.BytesIO()
        self.figure_.figure.savefig(picture, format="png")
        return picture.getvalue()


def check_extension(path: str | os.PathLike[str]) -> str:
    """Return the extension of a picture's file, in lower case, or say that it is none."""
    extension = Path(path).suffix.lower()
    if extension not in _EXTENSIONS:
        raise ValueError(
            f"Cannot write {os.fspath(path)!r}: the extension says the format, and must be one of "
            f"{', '.join(_EXTENSIONS)}."
        )
    return extension
