"""``dinov2-sklearn select``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ._embeddings import add_embeddings, load
from ._options import (
    Commands,
    add_output_style,
    check_folder_of,
    count,
    count_or_share,
    make_command,
    share,
)
from ._report import Report

if TYPE_CHECKING:
    import numpy as np


def add_to(commands: Commands) -> None:
    """Add the command."""
    command = make_command(
        commands,
        "select",
        "pick a diverse subset of embedded images",
        "The picks come in the order of their worth: any first few of them are a selection too.",
    )
    add_embeddings(command)
    command.add_argument("--output", required=True, type=Path, metavar="P", help="file to write")
    command.add_argument(
        "--n",
        required=True,
        type=count_or_share,
        metavar="N",
        help="how many to pick, or a share such as 0.1",
    )
    command.add_argument(
        "--strategy", choices=("hybrid", "fps", "cluster", "random"), default="hybrid"
    )
    command.add_argument("--n-clusters", type=count, metavar="K")
    command.add_argument(
        "--fps-ratio",
        type=share,
        default=0.3,
        metavar="SHARE",
        help="hybrid's share of far picks (default: %(default)s)",
    )
    command.add_argument("--metric", choices=("euclidean", "cosine"), default="euclidean")
    command.add_argument("--seed", type=int, default=42, metavar="N")
    command.add_argument(
        "--exclude",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="selection of an earlier round, in any format: counts as labelled, is extended and "
        "not picked again; may be repeated",
    )
    command.add_argument(
        "--format",
        choices=("csv", "txt", "json", "coco", "label-studio"),
        help="default: by the extension of --output",
    )
    command.add_argument(
        "--root",
        type=Path,
        metavar="DIR",
        help="folder that paths in COCO and Label Studio files are relative to",
    )
    command.add_argument(
        "--copy-to", type=Path, metavar="DIR", help="gather the picked images here as well"
    )
    command.add_argument("--copy-mode", choices=("copy", "symlink", "hardlink"), default="copy")
    add_output_style(command)
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> Report:
    from ..selection import DiversitySampler, copy_images, write_selection

    check_folder_of(arguments.output)
    rows, paths, model_name, skipped = load(arguments.embeddings)
    preselected = _preselected(arguments, paths)
    sampler = DiversitySampler(
        arguments.n,
        strategy=arguments.strategy,
        n_clusters=arguments.n_clusters,
        fps_ratio=arguments.fps_ratio,
        metric=arguments.metric,
        random_state=arguments.seed,
    ).fit(rows, preselected=preselected)
    settings = {"model_name": model_name, "embeddings": str(arguments.embeddings)}
    write_selection(
        arguments.output,
        paths,
        sampler,
        format=arguments.format,
        root=arguments.root,
        settings=settings,
    )
    picked = [paths[row] for row in sampler.selected_indices_]
    data = {
        "output": str(arguments.output),
        "n_picks": len(picked),
        "n_images": len(paths),
        "n_excluded": len(preselected),
        "covering_radius": float(sampler.covering_radius_),
        "picks": picked,
    }
    text = f"{arguments.output}: {len(picked)} of {len(paths)} images, covering radius "
    text += f"{sampler.covering_radius_:.4g}"
    if arguments.copy_to is not None:
        data["copies"] = copy_images(picked, arguments.copy_to, mode=arguments.copy_mode)
        text += f"\n{arguments.copy_to}: the images"
    return Report(text, data, skipped)


def _preselected(arguments: argparse.Namespace, paths: list[str]) -> "np.ndarray":
    import warnings

    import numpy as np

    from ..selections import find_paths, read_paths

    rows: list[int] = []
    for file in arguments.exclude:
        names = read_paths(file)
        if arguments.root is not None:
            names = _below(arguments.root, names, paths)
        found = [row for row in find_paths(names, paths) if row >= 0]
        if names and not found:
            raise ValueError(
                f"None of the {len(names)} images in {str(file)!r}, such as {names[0]!r}, is among "
                f"the embedded ones, such as {paths[0]!r}."
            )
        if len(found) < len(names):
            warnings.warn(
                f"{len(names) - len(found)} of the {len(names)} images in {str(file)!r} are not "
                "among the embedded ones.",
                UserWarning,
                stacklevel=2,
            )
        rows += found
    return np.unique(np.array(rows, dtype=np.intp))


def _below(root: Path, names: list[str], paths: list[str]) -> list[str]:
    """Take names that are not found as they are as relative to the root."""
    from ..selections import find_paths

    places = find_paths(names, paths)
    return [
        name if place >= 0 else str(root / name) for name, place in zip(names, places, strict=True)
    ]
