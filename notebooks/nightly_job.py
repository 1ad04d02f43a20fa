"""A nightly job: embed new images, pick what adds most to earlier picks, note where it lies.

The first night fits a map and starts the list. Every later night embeds only the new files, appends
a few of all images that were not picked before, and notes their places on the same map.

    python notebooks/nightly_job.py photos/ labelling/ --n 20

Exit status, fit for cron: 0 done, 1 failed, 3 done but for images that cannot be read.
"""

import argparse
import csv
import sys
import warnings
from pathlib import Path

import joblib
import numpy as np

from dinov2_sklearn import DINOv2Transformer, DiversitySampler, UMAPProjector, list_images

COLUMNS = ("night", "filepath", "x", "y", "novelty")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="folder that grows from day to day")
    parser.add_argument("state", type=Path, help="folder of this job: cache, map, list of picks")
    parser.add_argument("--n", type=int, default=20, help="picks a night (default: %(default)s)")
    parser.add_argument("--model", default="facebook/dinov2-base")
    arguments = parser.parse_args()
    arguments.state.mkdir(parents=True, exist_ok=True)

    # Files that were seen on earlier nights come out of the cache.
    embed = DINOv2Transformer(
        arguments.model, embedding_cache=arguments.state / "cache", on_error="nan"
    )
    paths = list_images(arguments.photos)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # failures are told below
        embeddings = embed.transform(paths)
    readable = np.isfinite(embeddings).all(axis=1)
    failed = paths[~readable]
    paths, embeddings = paths[readable], embeddings[readable]
    if len(paths) == 0:
        report_failed(failed)
        raise ValueError(f"none of the {len(failed)} images can be read")

    picks_file = arguments.state / "picks.csv"
    earlier = read_picks(picks_file)
    labelled = np.flatnonzero(np.isin(paths, [pick["filepath"] for pick in earlier]))
    if len(labelled) == len(paths):
        print("nothing is left to pick")
        return report_failed(failed)
    sampler = DiversitySampler(min(arguments.n, len(paths) - len(labelled)))
    picked = sampler.fit(embeddings, preselected=labelled).selected_indices_

    points = load_map(arguments.state / "map.joblib", embeddings).transform(embeddings[picked])
    night = 1 + max((int(pick["night"]) for pick in earlier), default=0)
    rows = zip(paths[picked], points, sampler.pick_distances_, strict=True)
    append_picks(picks_file, [(night, path, *point, novelty) for path, point, novelty in rows])

    print(f"night {night}: {len(picked)} picks of {len(paths)} images, {len(failed)} unreadable")
    return report_failed(failed)


def report_failed(failed: np.ndarray) -> int:
    """Name the images that cannot be read, and return the exit status."""
    for path in failed:
        print(f"cannot be read: {path}", file=sys.stderr)
    return 3 if len(failed) else 0


def load_map(path: Path, embeddings: np.ndarray) -> UMAPProjector:
    """Return the map of the first night, on which every point keeps its place."""
    if not path.exists():
        joblib.dump(UMAPProjector(n_neighbors=min(15, len(embeddings) - 1)).fit(embeddings), path)
    return joblib.load(path)


def read_picks(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


def append_picks(path: Path, rows: list[tuple]) -> None:
    is_new = not path.exists()
    with path.open("a", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(COLUMNS)
        writer.writerows(rows)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError) as error:
        print(f"failed: {error}", file=sys.stderr)
        sys.exit(1)
