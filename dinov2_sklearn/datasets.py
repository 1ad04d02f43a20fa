"""A small set of photographs to try things on, made without a connection.

Importing this module loads neither scikit-learn nor scikit-image.
"""

import json
import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from .utils import atomic_write, import_extra, left_over

__all__ = ["make_demo_images"]

# Scene, file in scikit-image's data folder (None: a sample image of scikit-learn), frames. The
# dull scenes are common and the interesting ones rare, as in the pictures of a camera trap.
_SCENES: tuple[tuple[str, str | None, int], ...] = (
    ("grass", "grass.png", 60),
    ("gravel", "gravel.png", 40),
    ("brick", "brick.png", 28),
    ("moon", "moon.png", 20),
    ("coins", "coins.png", 16),
    ("hubble", "hubble_deep_field.jpg", 13),
    ("page", "page.png", 11),
    ("retina", "retina.jpg", 9),
    ("tissue", "ihc.png", 8),
    ("handwriting", "text.png", 7),
    ("motorcycle", "motorcycle_left.png", 6),
    ("china", None, 5),
    ("cell", "cell.png", 5),
    ("coffee", "coffee.png", 4),
    ("clock", "clock_motion.png", 4),
    ("cameraman", "camera.png", 3),
    ("flower", None, 3),
    ("rocket", "rocket.jpg", 2),
    ("vessels", "microaneurysms.png", 2),
    ("horse", "horse.png", 2),
    ("cat", "chelsea.png", 2),
    ("astronaut", "astronaut.png", 2),
)
_MANIFEST = ".demo-images.json"
_VERSION = 2  # one more with every change of what is made below
_LONGEST_SIDE = 400
_JPEG_QUALITY = 88


def make_demo_images(folder: str | os.PathLike[str], *, seed: int = 0) -> NDArray[np.object_]:
    """Make some 250 photographs of 22 scenes, a few of them common and most of them rare.

    They are cut from the photographs that scikit-learn and scikit-image install, and behave like
    successive frames of a camera: overlapping windows, some mirrored, of changing brightness and
    sharpness. Their numbers are as unequal as in field data: the commonest scene has 60, the
    rarest have 2.

    Parameters
    ----------
    folder : path-like
        Where to put them, as ``<folder>/<scene>/<scene>_<number>.jpg``. It is made if it does not
        exist. A set that is complete there already is taken as it is.
    seed : int, default=0
        Seed of the windows and the changes. One seed gives the same bytes in every call, for one
        set of versions of scikit-learn, scikit-image, NumPy and Pillow.

    Returns
    -------
    paths : ndarray of shape (n_images,), dtype object
        The paths, as str, sorted. The name of a file's folder is its scene.

    Raises
    ------
    ImportError
        If scikit-image is not installed.
    FileExistsError
        If `folder` holds anything that is not of this set.
    FileNotFoundError
        If the installed scikit-image lacks one of its photographs.

    Notes
    -----
    Takes about 5 seconds and 8 MB on disk. Nothing is downloaded. A run that was cut off is
    completed by the next.

    Examples
    --------
    >>> from dinov2_sklearn import make_demo_images
    >>> paths = make_demo_images("demo/images")  # doctest: +SKIP
    >>> len(paths)  # doctest: +SKIP
    252
    """
    folder = Path(folder)
    names = [name for scene, _, count in _SCENES for name in _names(scene, count)]
    paths = np.array(sorted(str(folder / name) for name in names), dtype=object)
    recipe = _recipe(seed)
    _refuse_foreign(folder, set(names))
    if not _is_complete(folder, names, recipe):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _MANIFEST).unlink(missing_ok=True)
        sizes: dict[str, int] = {}
        for scene, source, count in _SCENES:
            sizes |= _write_scene(folder, scene, source, count, seed)
        manifest = json.dumps({"recipe": recipe, "sizes": sizes}, indent=1)
        with atomic_write(folder / _MANIFEST) as file:
            file.write(manifest.encode())
    return paths


def _names(scene: str, count: int) -> list[str]:
    return [f"{scene}/{scene}_{number:03d}.jpg" for number in range(count)]


def _recipe(seed: int) -> dict[str, Any]:
    """Say all that decides the images' bytes."""
    _data_folder()
    libraries = ("numpy", "pillow", "scikit-image", "scikit-learn")
    return {"seed": int(seed), "set": _VERSION, **{name: version(name) for name in libraries}}


def _refuse_foreign(folder: Path, names: set[str]) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileExistsError(f"{str(folder)!r} is a file. Name a folder for the demo images.")
    killed = left_over(folder)  # by runs that did not end
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or name in names or name == _MANIFEST or path in killed:
            continue
        raise FileExistsError(
            f"{str(folder)!r} holds {name!r}, which is no demo image. Name a new or an empty "
            "folder."
        )


def _is_complete(folder: Path, names: list[str], recipe: dict[str, Any]) -> bool:
    try:
        manifest = json.loads((folder / _MANIFEST).read_bytes())
        sizes = {name: (folder / name).stat().st_size for name in names}
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    return manifest == {"recipe": recipe, "sizes": sizes}


def _write_scene(
    folder: Path, scene: str, source: str | None, count: int, seed: int
) -> dict[str, int]:
    """Write the frames of one scene, and return the files' sizes.

    The frames need not be written atomically: the manifest, written last, vouches for them.
    """
    (folder / scene).mkdir(exist_ok=True)
    # A seed of its own for each scene: a change of one leaves the others as they are.
    rng = np.random.default_rng([seed, *scene.encode()])
    sizes = {}
    frames = _frames(_photograph(scene, source), count, rng)
    for name, frame in zip(_names(scene, count), frames, strict=True):
        frame.save(folder / name, "JPEG", quality=_JPEG_QUALITY)
        sizes[name] = (folder / name).stat().st_size
    return sizes


def _photograph(scene: str, source: str | None) -> Image.Image:
    if source is None:
        from sklearn.datasets import load_sample_image

        return Image.fromarray(load_sample_image(f"{scene}.jpg"))
    path = _data_folder() / source
    if not path.is_file():
        raise FileNotFoundError(
            f"The installed scikit-image {version('scikit-image')} lacks its photograph "
            f"{str(path)!r}. Install scikit-image again."
        )
    with Image.open(path) as image:
        if image.mode == "RGBA":
            white = Image.new("RGBA", image.size, "white")
            return Image.alpha_composite(white, image).convert("RGB")
        return image.convert("RGB")


def _data_folder() -> Path:
    return Path(import_extra("skimage", "demo", "The demo images").__file__).parent / "data"


def _frames(photograph: Image.Image, count: int, rng: np.random.Generator) -> Iterator[Image.Image]:
    """Cut windows of some three quarters of a photograph, that wander as a camera would."""
    width, height = photograph.size
    centre = np.array([0.5, 0.5])
    for _ in range(count):
        centre = np.clip(centre + rng.normal(0, 0.2, 2), 0, 1)
        size = np.array([width, height]) * rng.uniform(0.7, 0.88)
        left, top = (np.array([width, height]) - size) * centre
        window = (left, top, left + size[0], top + size[1])
        scale = _LONGEST_SIDE / max(size)
        shape = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
        frame = photograph.resize(shape, Image.Resampling.BICUBIC, box=window)
        yield _changed(frame, rng)


def _changed(frame: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Mirror, darken or brighten, and soften a frame a little."""
    mirrored, brightness, blur = rng.random(), rng.uniform(0.8, 1.2), rng.uniform(0, 1.2)
    if mirrored < 0.5:
        frame = ImageOps.mirror(frame)
    frame = ImageEnhance.Brightness(frame).enhance(brightness)
    return frame.filter(ImageFilter.GaussianBlur(blur))
