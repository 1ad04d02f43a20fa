"""``dinov2-sklearn run``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._options import Commands, add_output_style, add_source, make_command
from ._report import Report

if TYPE_CHECKING:
    import numpy as np


def add_to(commands: Commands) -> None:
    """Add the command."""
    command = make_command(
        commands,
        "run",
        "put new images through a fitted pipeline that was saved with joblib",
        "Writes selection.csv where the pipeline ends in a choice of images, else output.npz with "
        "a row an image. Loading a joblib file runs code: only load what you trust.",
    )
    command.add_argument("pipeline", type=Path, metavar="PIPELINE.joblib")
    add_source(command)
    command.add_argument(
        "--output", required=True, type=Path, metavar="DIR", help="folder for the results"
    )
    add_output_style(command)
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> Report:
    from ..images import list_images
    from ..selection import DiversitySampler

    pipeline = _load(arguments.pipeline)
    paths = list_images(arguments.input, pattern=arguments.pattern, image_col=arguments.image_col)
    arguments.output.mkdir(parents=True, exist_ok=True)
    last = pipeline.steps[-1][1] if hasattr(pipeline, "steps") else pipeline
    if isinstance(last, DiversitySampler):
        return _select(pipeline, paths, arguments.output)
    return _transform(pipeline, paths, arguments.output)


def _load(path: Path) -> Any:
    import joblib

    if not path.is_file():
        raise FileNotFoundError(f"There is no pipeline {str(path)!r}.")
    try:
        pipeline = joblib.load(path)
    except Exception as error:  # unpickling raises nearly anything
        raise ValueError(
            f"{str(path)!r} cannot be loaded as a joblib file ({type(error).__name__}: {error})."
        ) from error
    if not hasattr(pipeline, "transform"):
        raise ValueError(
            f"{str(path)!r} holds an object of type {type(pipeline).__name__}, which has no "
            "transform."
        )
    return pipeline


def _select(pipeline: Any, paths: "np.ndarray", folder: Path) -> Report:
    from ..selection import write_selection

    rows: Any = paths
    for _, step in pipeline.steps[:-1] if hasattr(pipeline, "steps") else []:
        rows = step.transform(rows)
    sampler = pipeline.steps[-1][1] if hasattr(pipeline, "steps") else pipeline
    picked = sampler.select(rows)
    output = folder / "selection.csv"
    write_selection(output, paths.tolist(), picked)
    data = {
        "output": str(output),
        "n_images": len(paths),
        "n_picks": len(picked),
        "picks": paths[picked].tolist(),
    }
    return Report(f"{output}: {len(picked)} of {len(paths)} images", data)


def _transform(pipeline: Any, paths: "np.ndarray", folder: Path) -> Report:
    import numpy as np

    from ..io import save_embeddings

    rows = np.asarray(pipeline.transform(paths), dtype=np.float32)
    if rows.ndim != 2 or len(rows) != len(paths):
        raise ValueError(
            f"The pipeline made an array of shape {rows.shape} of {len(paths)} images: there is "
            "no row for each."
        )
    output = folder / "output.npz"
    save_embeddings(output, rows, paths, model_name=type(pipeline).__name__)
    data = {"output": str(output), "n_images": len(paths), "n_features": rows.shape[1]}
    return Report(f"{output}: {len(paths)} images, {rows.shape[1]} features", data)
