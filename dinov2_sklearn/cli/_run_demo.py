"""What ``dinov2-sklearn demo`` does: the whole path from images to a subset, on one small set."""

import hashlib
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..attention import AttentionDisplay, PatchAttentionInspector
from ..datasets import make_demo_images
from ..drawing import contact_sheet
from ..extraction import DINOv2Transformer
from ..io._embeddings import EmbeddingsFileError, load_embeddings, save_embeddings
from ..projection import ProjectionDisplay, UMAPProjector
from ..selection import DiversitySampler, write_selection
from ..utils import atomic_write

_MODEL = "offline"
_FILES = {
    "images": "images",
    "embeddings": "embeddings.pt",
    "picks": "selection.csv",
    "picks as pictures": "contact_sheet.jpg",
    "map": "umap.png",
    "map to explore": "umap.html",
    "attention": "attention.png",
    "colours of patches": "patches.png",
    "attention to explore": "attention.html",
}
# Two frames of each, whose parts should have the same colours.
_COLORED = ("cat", "coffee", "motorcycle")
_RANDOM_DRAWS = 100


@dataclass(frozen=True)
class DemoResult:
    """What the demo found out, and the files that it wrote; prints as a short report.

    Attributes
    ----------
    n_images, n_scenes, n_picks : int
        Images, scenes among them, and images picked.
    covered : int
        Scenes that have a pick.
    random : ndarray of shape (n_draws,)
        Scenes that have a pick, for each of so many random draws of `n_picks` images.
    reused : bool
        Whether the embeddings are those of an earlier run.
    files : dict of str to Path
        What each file holds, and where it is.
    """

    n_images: int
    n_scenes: int
    n_picks: int
    covered: int
    random: NDArray[np.intp]
    reused: bool
    files: dict[str, Path]

    def __str__(self) -> str:
        width = max(map(len, self.files))
        drawn = f"{self.random.mean():.1f} ({self.random.min()} to {self.random.max()})"
        return "\n".join(
            [
                f"{self.n_images} images of {self.n_scenes} scenes, {self.n_picks} picked.",
                "",
                f"Scenes among the {self.n_picks} picks:",
                f"  DiversitySampler       {self.covered} of {self.n_scenes}",
                f"  random                 {drawn}: mean (lowest to highest) of "
                f"{len(self.random)} draws",
                "",
                *([_REUSED, ""] if self.reused else []),
                "Files:",
                *(f"  {what:<{width}}  {path}" for what, path in self.files.items()),
            ]
        )


_REUSED = "The embeddings are those of an earlier run; delete embeddings.pt to make them anew."


def run_demo(output: Path, n_samples: int = 24, *, quiet: bool = False) -> DemoResult:
    """Make images, embed them, draw their map, pick some, and show the model's attention.

    Parameters
    ----------
    output : Path
        Folder for the images and the results; it is made where there is none.
    n_samples : int, default=24
        Number of images to pick.
    quiet : bool, default=False
        Whether to say nothing of the progress on standard error.

    Returns
    -------
    result : DemoResult
    """
    say: Callable[[str], None] = _ignore if quiet else _say
    files = {what: output / name for what, name in _FILES.items()}
    say("Making the images ...")
    paths = make_demo_images(files["images"]).tolist()
    if n_samples > len(paths):
        raise ValueError(f"There are {len(paths)} demo images: {n_samples} cannot be picked.")
    scenes = np.array([Path(path).parent.name for path in paths], dtype=object)
    embeddings, reused = _embed(paths, files["embeddings"], say, quiet=quiet)
    say(f"Picking {n_samples} ...")
    sampler = DiversitySampler(n_samples=n_samples).fit(embeddings)
    picks = sampler.selected_indices_
    write_selection(files["picks"], paths, sampler, settings={"model_name": _MODEL})
    _write_contact_sheet(files["picks as pictures"], paths, scenes, picks)
    say("Drawing the map ...")
    _draw_map(files["map"], files["map to explore"], embeddings, paths, scenes, sampler)
    say("Looking at the attention ...")
    _draw_attention(files["attention"], paths, scenes, picks)
    _draw_patches(files["colours of patches"], files["attention to explore"], paths, scenes)
    return DemoResult(
        n_images=len(paths),
        n_scenes=len(set(scenes)),
        n_picks=n_samples,
        covered=len(set(scenes[picks])),
        random=_cover_randomly(scenes, n_samples),
        reused=reused,
        files=files,
    )


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _ignore(message: str) -> None:
    pass


def _embed(
    paths: list[str], file: Path, say: Callable[[str], None], *, quiet: bool
) -> tuple[NDArray[np.float32], bool]:
    """Return the embeddings, and whether they are those of an earlier run."""
    digest = hashlib.sha256(b"".join(Path(path).read_bytes() for path in paths)).hexdigest()
    wanted = {"images_sha256": digest}
    if file.exists():
        try:
            saved = load_embeddings(file)
        except EmbeddingsFileError as error:
            say(str(error))
        else:
            found = (saved.image_ids, saved.model_name, saved.metadata)
            if found == (paths, _MODEL, wanted):
                say("Using the embeddings of an earlier run.")
                return saved.embeddings, True
    say(f"Embedding {len(paths)} images ...")
    # A bar in a log file is noise.
    transformer = DINOv2Transformer(_MODEL, verbose=not quiet and sys.stderr.isatty())
    embeddings = transformer.fit_transform(paths)
    save_embeddings(file, embeddings, paths, model_name=_MODEL, metadata=wanted)
    return embeddings, False


def _cover_randomly(scenes: NDArray[np.object_], n_samples: int) -> NDArray[np.intp]:
    """Count the scenes in random draws."""
    rng = np.random.default_rng(0)
    draws = (rng.choice(scenes, n_samples, replace=False) for _ in range(_RANDOM_DRAWS))
    return np.array([len(set(draw)) for draw in draws])


def _draw_map(
    picture: Path,
    page: Path,
    embeddings: NDArray[np.float32],
    paths: list[str],
    scenes: NDArray[np.object_],
    sampler: DiversitySampler,
) -> None:
    # Wide neighbourhoods: most scenes have few frames, and would be packed into one spot.
    projector = UMAPProjector(n_neighbors=100, min_dist=0.9)
    coordinates = projector.fit_transform(embeddings)
    picks = sampler.selected_indices_
    title = f"{len(paths)} images of {len(set(scenes))} scenes; {len(picks)} picked"
    display = ProjectionDisplay.from_coordinates(
        coordinates, labels=scenes, selected=picks, names=paths, title=title
    )
    display.save(picture)
    columns = {
        "cluster": projector.cluster(12),
        "distance to the nearest pick": sampler.score_samples(embeddings),
    }
    display.write_html(page, thumbnails="sprites", columns=columns, title="Demo images")


def _write_contact_sheet(
    file: Path, paths: list[str], scenes: NDArray[np.object_], picks: NDArray[np.intp]
) -> None:
    sheet = contact_sheet(
        [paths[pick] for pick in picks],
        [f"{rank}  {scenes[pick]}" for rank, pick in enumerate(picks, start=1)],
        title=f"{len(picks)} of {len(paths)} images, in the order of their selection",
    )
    with atomic_write(file) as stream:
        sheet.save(stream, "JPEG", quality=90)


def _draw_attention(
    file: Path, paths: list[str], scenes: NDArray[np.object_], picks: NDArray[np.intp]
) -> None:
    """Draw what the model looks at in the picks of the six rarest scenes."""
    chosen = _rarest(scenes, picks, 6)
    # Twice the model's usual size, for maps four times as fine.
    inspector = PatchAttentionInspector(_MODEL, image_size=448)
    images, titles = [paths[pick] for pick in chosen], [scenes[pick] for pick in chosen]
    AttentionDisplay.from_estimator(inspector, images, titles=titles).save(file)


def _draw_patches(picture: Path, page: Path, paths: list[str], scenes: NDArray[np.object_]) -> None:
    """Draw the colours of the patches of a few scenes, and write a page to explore one image."""
    chosen = [int(i) for scene in _COLORED for i in np.flatnonzero(scenes == scene)[:2]]
    images, titles = [paths[i] for i in chosen], [scenes[i] for i in chosen]
    inspector = PatchAttentionInspector(_MODEL, image_size=448).fit(images)
    AttentionDisplay.from_estimator(inspector, images, kind="pca", titles=titles).save(picture)
    PatchAttentionInspector(_MODEL).visualize_interactive(images[-1], page)


def _rarest(scenes: NDArray[np.object_], picks: NDArray[np.intp], n: int) -> list[int]:
    """Return the picks of the rarest scenes, one a scene."""
    counts = Counter(scenes.tolist())
    first = {scenes[pick]: int(pick) for pick in picks[::-1]}
    return sorted(first.values(), key=lambda pick: (counts[scenes[pick]], pick))[:n]
