"""``dinov2-sklearn run``."""

import argparse
import warnings
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
    import numpy as np

    from ..images import list_images
    from ..selection import DiversitySampler

    steps = _steps(_load(arguments.pipeline))
    paths = list_images(arguments.input, pattern=arguments.pattern, image_col=arguments.image_col)
    arguments.output.mkdir(parents=True, exist_ok=True)
    ends_in_choice = bool(steps) and isinstance(steps[-1], DiversitySampler)
    rows, numbers = _transform(steps[:-1] if ends_in_choice else steps, paths)
    missing = np.setdiff1d(np.arange(len(paths)), numbers)
    skipped = [
        {"image_id": paths[i], "cause": "the pipeline made no numbers of it"} for i in missing
    ]
    if len(numbers) == 0:
        raise ValueError(f"The pipeline made no numbers of any of the {len(paths)} images.")
    if ends_in_choice:
        picked = steps[-1].select(rows)
        return _write_choice(arguments.output, paths[numbers], numbers, picked, skipped)
    return _write_rows(arguments.output, paths[numbers], rows, skipped)


def _steps(estimator: Any) -> list[Any]:
    """Return the estimators that rows go through, out of searches and nested pipelines."""
    if hasattr(estimator, "best_estimator_"):
        return _steps(estimator.best_estimator_)
    if hasattr(estimator, "steps"):
        return [inner for _, step in estimator.steps for inner in _steps(step)]
    return [] if estimator in (None, "passthrough") else [estimator]


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


def _transform(steps: list[Any], paths: "np.ndarray") -> tuple[Any, "np.ndarray"]:
    """Put paths through the steps, leaving out rows once they have NaN; return those that stay."""
    import numpy as np

    rows: Any = paths
    numbers = np.arange(len(paths))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*could not be decoded")  # they are listed
        for step in steps:
            rows = step.transform(rows)
            values = np.asarray(rows)
            if len(values) != len(numbers):
                raise ValueError(
                    f"{type(step).__name__} made {len(values)} rows of {len(numbers)}: only the "
                    "last step may choose."
                )
            if values.dtype.kind == "f" and np.isnan(values).any():
                kept = ~np.isnan(values).any(axis=1)
                rows, numbers = values[kept], numbers[kept]
                if not kept.any():
                    break
    return rows, numbers


def _write_choice(
    folder: Path, paths: "np.ndarray", numbers: "np.ndarray", picked: "np.ndarray", skipped: list
) -> Report:
    from ..selection import write_selection

    output = folder / "selection.csv"
    write_selection(output, paths.tolist(), picked, rows=numbers)
    data = {
        "output": str(output),
        "n_images": len(paths),
        "n_picks": len(picked),
        "picks": paths[picked].tolist(),
    }
    return Report(f"{output}: {len(picked)} of {len(paths)} images", data, skipped)


def _write_rows(folder: Path, paths: "np.ndarray", rows: Any, skipped: list) -> Report:
    import numpy as np

    from ..io._embeddings import save_embeddings

    values = np.asarray(rows)
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise ValueError("The pipeline does not turn images into rows of numbers.")
    output = folder / "output.npz"
    save_embeddings(output, values, paths, model_name="pipeline")
    data = {"output": str(output), "n_images": len(paths), "n_features": values.shape[1]}
    return Report(f"{output}: {len(paths)} images, {values.shape[1]} features", data, skipped)
