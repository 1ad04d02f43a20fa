"""``dinov2-sklearn demo``: the whole path from images to a subset, on one small set.

It is written as a user would write it, with the names of the package that load on first use.
"""

import argparse
import hashlib
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dinov2_sklearn as dinov2

from ._options import Command, Commands, count
from ._report import Report

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["add_to"]

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
# Frames of one scene, from one camera, are nearer to each other than this.
_COPIES = 0.98


def add_to(commands: Commands) -> None:
    """Add the command."""
    command = Command(
        commands,
        "demo",
        "try everything on some 250 photographs, without a connection",
        "Makes photographs of 22 scenes, embeds them, draws their map, picks a diverse few of "
        "them, and shows what the model looks at. Takes a minute or two; embeddings of an earlier "
        "run are used again.",
        _run,
    )
    folder = "folder for the images and the results"
    command.option("--output", Path, "DIR", folder, default=Path("demo"))
    command.option("--n", count, "N", "number of images to pick", default=24)


def _run(arguments: argparse.Namespace) -> Report:
    import numpy as np

    from ..selection import write_selection
    from ..utils import atomic_write

    n_picks: int = arguments.n
    say = _ignore if arguments.quiet else partial(print, file=sys.stderr, flush=True)
    files = {what: arguments.output / name for what, name in _FILES.items()}
    say("Making the images ...")
    paths = dinov2.make_demo_images(files["images"]).tolist()
    if n_picks > len(paths):
        raise ValueError(f"There are {len(paths)} demo images: {n_picks} cannot be picked.")
    scenes = np.array([Path(path).parent.name for path in paths], dtype=object)
    embeddings, reused = _embed(paths, files["embeddings"], say, quiet=arguments.quiet)
    say(f"Picking {n_picks} ...")
    sampler = dinov2.DiversitySampler(n_samples=n_picks).fit(embeddings)
    picks = sampler.selected_indices_
    copies = dinov2.NearDuplicates().fit(embeddings)
    write_selection(files["picks"], paths, sampler, settings={"model_name": _MODEL})
    sheet = dinov2.contact_sheet(
        [paths[pick] for pick in picks],
        [f"{rank}  {scenes[pick]}" for rank, pick in enumerate(picks, start=1)],
        title=f"{n_picks} of {len(paths)} images, in the order of their selection",
    )
    with atomic_write(files["picks as pictures"]) as stream:
        sheet.save(stream, "JPEG", quality=90)
    say("Drawing the map ...")
    _draw_map(files["map"], files["map to explore"], embeddings, paths, scenes, sampler, copies)
    say("Looking at the attention ...")
    _draw_attention(files["attention"], paths, scenes, picks)
    _draw_patches(files["colours of patches"], files["attention to explore"], paths, scenes)
    rng = np.random.default_rng(0)
    draws = [rng.choice(scenes, n_picks, replace=False) for _ in range(_RANDOM_DRAWS)]
    data = {
        "n_images": len(paths),
        "n_scenes": len(set(scenes)),
        "n_picks": n_picks,
        "n_one_of_each": copies.rethreshold(_COPIES).n_groups_,
        "share_of_spread": float(sampler.representation_[-1]),
        "scenes_covered": len(set(scenes[picks])),
        "scenes_covered_at_random": [len(set(draw)) for draw in draws],
        "files": {what: str(path) for what, path in files.items()},
    }
    return Report(_describe(data, reused=reused), data)


def _describe(data: dict[str, Any], *, reused: bool) -> str:
    width = max(map(len, data["files"]))
    drawn = data["scenes_covered_at_random"]
    random = f"{sum(drawn) / len(drawn):.1f} ({min(drawn)} to {max(drawn)})"
    earlier = "The embeddings are those of an earlier run; delete embeddings.pt to make them anew."
    return "\n".join(
        [
            f"{data['n_images']} images of {data['n_scenes']} scenes, {data['n_picks']} picked.",
            "",
            f"Near copies, of a cosine similarity of {_COPIES} or more:",
            f"  one of each leaves     {data['n_one_of_each']} of {data['n_images']}",
            "",
            f"Scenes among the {data['n_picks']} picks:",
            f"  DiversitySampler       {data['scenes_covered']} of {data['n_scenes']}",
            f"  random                 {random}: mean (lowest to highest) of {len(drawn)} draws",
            f"The picks take away {data['share_of_spread']:.0%} of the spread of all images.",
            "",
            *([earlier, ""] if reused else []),
            "Files:",
            *(f"  {what:<{width}}  {path}" for what, path in data["files"].items()),
            "",
            f"Open {data['files']['map to explore']} in a browser: move over the points, and draw a"
            " loop around some of them.",
        ]
    )


def _ignore(message: str) -> None:
    pass


def _embed(
    paths: list[str], file: Path, say: Callable[[str], None], *, quiet: bool
) -> "tuple[NDArray[np.float32], bool]":
    """Return the embeddings, and whether they are those of an earlier run."""
    from ..io import EmbeddingsFileError

    digest = hashlib.sha256(b"".join(Path(path).read_bytes() for path in paths)).hexdigest()
    wanted = {"images_sha256": digest}
    if file.exists():
        try:
            saved = dinov2.load_embeddings(file)
        except EmbeddingsFileError as error:
            say(str(error))
        else:
            found = (saved.image_ids, saved.model_name, saved.metadata)
            if found == (paths, _MODEL, wanted):
                say("Using the embeddings of an earlier run.")
                return saved.embeddings, True
    say(f"Embedding {len(paths)} images ...")
    # A bar in a log file is noise.
    transformer = dinov2.DINOv2Transformer(_MODEL, verbose=not quiet and sys.stderr.isatty())
    embeddings = transformer.fit_transform(paths)
    dinov2.save_embeddings(file, embeddings, paths, model_name=_MODEL, metadata=wanted)
    return embeddings, False


def _draw_map(
    picture: Path,
    page: Path,
    embeddings: "NDArray[np.float32]",
    paths: list[str],
    scenes: "NDArray[np.object_]",
    sampler: Any,
    copies: Any,
) -> None:
    # Wide neighbourhoods: most scenes have few frames, and would be packed into one spot.
    projector = dinov2.UMAPProjector(n_neighbors=100, min_dist=0.9)
    coordinates = projector.fit_transform(embeddings)
    picks = sampler.selected_indices_
    title = f"{len(paths)} images of {len(set(scenes))} scenes; {len(picks)} picked"
    display = dinov2.ProjectionDisplay.from_coordinates(
        coordinates, labels=scenes, selected=picks, names=paths, title=title
    )
    display.save(picture)
    display.write_html(
        page,
        thumbnails="sprites",
        columns={"cluster": projector.cluster(12)},
        embeddings=embeddings,
        duplicates=copies.labels_,
        title="Demo images",
    )


def _draw_attention(
    file: Path, paths: list[str], scenes: "NDArray[np.object_]", picks: "NDArray[np.intp]"
) -> None:
    """Draw what the model looks at in the picks of the six rarest scenes."""
    chosen = _rarest(scenes, picks, 6)
    # Twice the model's usual size, for maps four times as fine.
    inspector = dinov2.PatchAttentionInspector(_MODEL, image_size=448)
    images, titles = [paths[pick] for pick in chosen], [scenes[pick] for pick in chosen]
    dinov2.AttentionDisplay.from_estimator(inspector, images, titles=titles).save(file)


def _draw_patches(
    picture: Path, page: Path, paths: list[str], scenes: "NDArray[np.object_]"
) -> None:
    """Draw the colours of the patches of a few scenes, and write a page to explore one image."""
    chosen = [i for scene in _COLORED for i in (scenes == scene).nonzero()[0][:2].tolist()]
    images, titles = [paths[i] for i in chosen], [scenes[i] for i in chosen]
    inspector = dinov2.PatchAttentionInspector(_MODEL, image_size=448)
    inspector.fit(images[::2])  # the other frame of each scene holds the same things
    dinov2.AttentionDisplay.from_estimator(inspector, images, kind="pca", titles=titles).save(
        picture
    )
    dinov2.PatchAttentionInspector(_MODEL).visualize_interactive(images[-1], page)


def _rarest(scenes: "NDArray[np.object_]", picks: "NDArray[np.intp]", n: int) -> list[int]:
    """Return the picks of the rarest scenes, one a scene."""
    counts = Counter(scenes.tolist())
    first = {scenes[pick]: int(pick) for pick in picks[::-1]}
    return sorted(first.values(), key=lambda pick: (counts[scenes[pick]], pick))[:n]
