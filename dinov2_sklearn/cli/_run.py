"""``dinov2-sklearn run``."""

import argparse
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._options import Command, Commands, list_source
from ._report import Report

if TYPE_CHECKING:
    import numpy as np


__all__ = ["add_to"]


def add_to(commands: Commands) -> None:
    """Add the command."""
    command = Command(
        commands,
        "run",
        "put new images through a fitted pipeline that was saved with joblib",
        "Writes selection.csv where the pipeline ends in a choice of images, else output.npz with "
        "a row an image. Loading a joblib file runs code: only load what you trust.",
        _run,
    )
    command.parser.add_argument("pipeline", type=Path, metavar="PIPELINE.joblib")
    command.add_source()
    command.option("--output", Path, "DIR", "folder for the results", required=True)


def _run(arguments: argparse.Namespace) -> Report:
    import numpy as np

    from ..io import save_embeddings
    from ..selection import DiversitySampler, write_selection

    steps = _steps(_load(arguments.pipeline))
    paths = list_source(arguments).paths
    arguments.output.mkdir(parents=True, exist_ok=True)
    sampler = steps.pop() if steps and isinstance(steps[-1], DiversitySampler) else None
    rows, numbers = _transform(steps, paths)
    if len(numbers) == 0:
        raise ValueError(f"The pipeline made no numbers of any of the {len(paths)} images.")
    cause = "the pipeline made no numbers of it"
    missing = np.delete(paths, numbers).tolist()
    skipped = [{"image_id": path, "cause": cause} for path in missing]
    paths = paths[numbers]
    if sampler is None:
        values = np.asarray(rows)
        if values.ndim != 2 or values.dtype.kind not in "fiu":
            raise ValueError("The pipeline does not turn images into rows of numbers.")
        output = arguments.output / "output.npz"
        save_embeddings(output, values, paths, model_name="pipeline")
        data = {"n_images": len(paths), "n_features": values.shape[1]}
        text = f"{output}: {len(paths)} images, {values.shape[1]} features"
    else:
        picked = sampler.select(rows)
        output = arguments.output / "selection.csv"
        write_selection(output, paths, picked, rows=numbers)
        data = {"n_images": len(paths), "n_picks": len(picked), "picks": paths[picked].tolist()}
        text = f"{output}: {len(picked)} of {len(paths)} images"
    return Report(text, {"output": str(output), **data}, skipped)


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
