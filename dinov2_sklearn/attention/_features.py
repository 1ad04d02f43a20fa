"""Patch tokens in files: one ``.npz`` an image, none of which can run code on reading."""

import hashlib
import json
import os
import re
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..images import ImageDecodeError, ImageRef, Preprocessing, warn_of_failures
from ..utils import Progress, atomic_write

if TYPE_CHECKING:
    from ._model import AttentionModel

__all__ = ["PatchFeatures", "load_patch_features", "save_patch_features"]

FORMAT = "dinov2_sklearn patch features 1"


@dataclass(frozen=True, eq=False, repr=False)
class PatchFeatures:
    """Patch tokens of one image, as its file holds them.

    Attributes
    ----------
    patch_tokens : ndarray of shape (grid_h, grid_w, dim), dtype float16 or float32
        With the model's final LayerNorm applied.
    image_path : str
        The image.
    model_name : str
        The model that made them.
    layer : int
        The block that they come from, counted from 0.
    preprocessing : Preprocessing
        What was done to the image before.
    """

    patch_tokens: NDArray[Any]
    image_path: str
    model_name: str
    layer: int
    preprocessing: Preprocessing

    def __repr__(self) -> str:
        rows, columns, dim = self.patch_tokens.shape
        return (
            f"PatchFeatures({rows} x {columns} patches of {dim} features, "
            f"image_path={self.image_path!r})"
        )


def load_patch_features(path: str | os.PathLike[str]) -> PatchFeatures:
    """Read a file that `PatchAttentionInspector.save_patch_features` wrote.

    Parameters
    ----------
    path : str or path
        The ``.npz`` file.

    Returns
    -------
    PatchFeatures

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, or of another kind.

    Examples
    --------
    >>> from dinov2_sklearn import PatchAttentionInspector, load_patch_features
    >>> files = PatchAttentionInspector("offline").save_patch_features(
    ...     ["a.jpg", "b.jpg"], "features/"
    ... )  # doctest: +SKIP
    >>> load_patch_features(files[0]).patch_tokens.shape  # doctest: +SKIP
    (16, 16, 384)
    """
    metadata, tokens = _read(Path(path), with_tokens=True)
    settings = metadata["settings"]
    recipe: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in settings["preprocessing"].items()
    }
    return PatchFeatures(
        patch_tokens=tokens,
        image_path=metadata["image_path"],
        model_name=settings["model_name"],
        layer=settings["layer"],
        preprocessing=Preprocessing(**recipe),
    )


def save_patch_features(
    model: "AttentionModel",
    paths: list[str],
    folder: Path,
    *,
    model_name: str,
    dtype: str,
    on_error: str,
    verbose: bool,
) -> NDArray[np.object_]:
    """Write what `PatchAttentionInspector.save_patch_features` documents."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{str(folder)!r} is a file. Name a folder for patch tokens.")
    folder.mkdir(parents=True, exist_ok=True)
    settings = _settings(model, model_name, dtype)
    files = {path: folder / _file_name(path) for path in paths}
    todo = [path for path in files if not _is_done(files[path], path, settings)]
    errors: dict[int, ImageDecodeError] = {}
    with Progress(len(files), "Saving patch tokens", "img", shown=verbose) as bar:
        bar.update(len(files) - len(todo))
        stamps = {path: _stamp(path) for path in todo}  # before the images are read
        for position, _, _, tokens in model.run(todo, errors if on_error == "skip" else None):
            path = todo[position]
            metadata = {"image_path": path, "stamp": stamps[path], "settings": settings}
            _write(files[path], _narrowed(tokens, dtype, path), metadata)
            bar.update(1)
    failed = {todo[position] for position in errors}
    if failed:
        told = f"{len(errors)} of {len(files)} images could not be decoded and have no file"
        warn_of_failures(errors.values(), told)
    found = [None if path in failed else str(files[path]) for path in paths]
    return np.array(found, dtype=object)


def _settings(model: "AttentionModel", model_name: str, dtype: str) -> dict[str, Any]:
    """Return what decides the tokens of an image, as JSON has it."""
    recipe = asdict(model.preprocessing)
    if recipe["crop_mode"] == "center":  # which 0.1.0 had no name for
        del recipe["crop_mode"]
    settings = {
        "model_name": model_name,
        "model": model.backbone.checkpoint.digests,
        "layer": model.token_block,
        "precision": str(model.backbone.dtype).removeprefix("torch."),
        "preprocessing": recipe,
        "dtype": dtype,
        **model.decoding.settings(),
    }
    return json.loads(json.dumps(settings))


def _file_name(path: str) -> str:
    """Name a file after its image, and apart from images of the same name elsewhere."""
    ref = ImageRef(path)
    digest = hashlib.blake2b(os.fsencode(ref.absolute), digest_size=8)
    stem = re.sub(r"[^\w.-]", "_", ref.stem)[:80]
    return f"{stem}-{digest.hexdigest()}.npz"


def _stamp(path: str) -> list[int]:
    """Say what changes when an image does."""
    ref = ImageRef(path)
    if ref.is_url:
        return [*(ref.digest() or b"")]
    return [*(ref.stamp() or ())[:2]]  # size and time of the last write


def _is_done(file: Path, path: str, settings: dict[str, Any]) -> bool:
    """Tell whether an image's file is there and as good as new; refuse one of other settings."""
    if not file.exists():
        return False
    metadata, _ = _read(file, with_tokens=False)
    other = metadata["settings"]
    # 0.1.0 told models by another digest: its file is made again where all else is the same.
    is_old = "model_digest" in other
    names = sorted(settings.keys() - {"model"} if is_old else settings)
    if differing := [name for name in names if other.get(name) != settings[name]]:
        values = "; ".join(f"{n} {other.get(n)!r}, now {settings[n]!r}" for n in differing)
        raise ValueError(
            f"{str(file)!r} was made with other settings ({values}). Use another folder for these, "
            "or delete that one."
        )
    return not is_old and metadata["stamp"] == _stamp(path)


def _narrowed(tokens: NDArray[np.float32], dtype: str, path: str) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        narrowed = tokens.astype(dtype)
    if not np.isfinite(narrowed).all():
        raise ValueError(
            f"The patch tokens of {path!r} reach {np.abs(tokens).max():g}, which {dtype} cannot "
            'hold. Use dtype="float32".'
        )
    return narrowed


def _write(file: Path, tokens: NDArray[Any], metadata: dict[str, Any]) -> None:
    text = json.dumps({"format": FORMAT, **metadata})
    with atomic_write(file) as stream:
        np.savez(
            stream,
            patch_tokens=tokens,
            grid_shape=np.array(tokens.shape[:2]),
            metadata=np.array(text),
        )


def _read(file: Path, *, with_tokens: bool) -> tuple[dict[str, Any], NDArray[Any]]:
    if not file.is_file():
        raise FileNotFoundError(f"There is no file {str(file)!r}.")
    try:
        if not zipfile.is_zipfile(file):  # of such a file numpy says that it could run code
            raise ValueError("it is no .npz archive")
        # Opened here: of a damaged archive numpy leaves its own file open.
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            metadata = json.loads(str(arrays["metadata"]))
            tokens = arrays["patch_tokens"] if with_tokens else np.empty(0)
        if metadata["format"] != FORMAT:
            raise ValueError(f"its format is {metadata['format']!r}")
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{str(file)!r} is damaged, or no file of patch tokens ({error}). Delete it, and save "
            "its image's patch tokens again."
        ) from error
    return metadata, tokens
