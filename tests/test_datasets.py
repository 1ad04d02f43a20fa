"""Properties of the demo images."""

import hashlib
import socket
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("skimage")

from dinov2_sklearn import datasets
from dinov2_sklearn.datasets import make_demo_images


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "new" / "images"
    return folder, make_demo_images(folder)


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.jpg")
    }


@pytest.fixture
def few_scenes(monkeypatch):
    """Make sets of two scenes, for tests that make several."""
    scenes = [scene for scene in datasets._SCENES if scene[0] in ("horse", "china")]
    monkeypatch.setattr(datasets, "_SCENES", tuple(scenes))


def test_the_paths_are_the_files_sorted(demo):
    folder, paths = demo
    assert paths.dtype == object
    assert paths.ndim == 1
    assert all(type(path) is str for path in paths)
    assert list(paths) == sorted(map(str, folder.rglob("*.jpg")))


def test_scenes_are_many_and_their_sizes_very_unequal(demo):
    counts = Counter(Path(path).parent.name for path in demo[1])
    assert len(counts) == 22
    assert sum(counts.values()) == 252
    assert max(counts.values()) == 60
    assert min(counts.values()) == 2
    assert np.median(list(counts.values())) < np.mean(list(counts.values())) / 2


def test_images_are_small_rgb_jpegs_and_no_two_are_equal(demo):
    folder, paths = demo
    for path in paths:
        with Image.open(path) as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")
            assert max(image.size) == 400
            assert np.asarray(image).std() > 2
    assert len(set(digests(folder).values())) == len(paths)
    assert sum(path.stat().st_size for path in folder.rglob("*.jpg")) < 12e6


def test_frames_of_one_scene_look_alike(demo):
    """A thumbnail's nearest other one is of its own scene far more often than by chance."""
    scenes = np.array([Path(path).parent.name for path in demo[1]])
    thumbnails = []
    for path in demo[1]:
        with Image.open(path) as image:
            thumbnails.append(np.asarray(image.resize((8, 8)), dtype=float).ravel())
    thumbnails = np.array(thumbnails)
    distances = np.linalg.norm(thumbnails[:, None] - thumbnails[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    by_chance = np.mean(scenes[:, None] == scenes[None])
    assert np.mean(scenes[distances.argmin(axis=1)] == scenes) > 5 * by_chance


def test_a_second_call_is_fast_and_changes_nothing(demo):
    folder, paths = demo
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    start = time.perf_counter()
    again = make_demo_images(folder)
    assert time.perf_counter() - start < 1
    assert list(again) == list(paths)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_one_seed_gives_the_same_bytes_and_another_gives_others(tmp_path, few_scenes):
    state = np.random.get_state()[1].tolist()
    for name, seed in [("a", 0), ("b", 0), ("c", 1)]:
        make_demo_images(tmp_path / name, seed=seed)
    assert np.random.get_state()[1].tolist() == state
    a, b, c = (digests(tmp_path / name) for name in "abc")
    assert a == b
    assert a.keys() == c.keys()
    assert all(a[name] != c[name] for name in a)


def test_another_seed_in_the_same_folder_replaces_the_images(tmp_path, few_scenes):
    make_demo_images(tmp_path / "a", seed=1)
    make_demo_images(tmp_path / "a", seed=0)
    make_demo_images(tmp_path / "b", seed=0)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


@pytest.mark.parametrize("damage", ["missing", "truncated", "no manifest", "garbage manifest"])
def test_an_incomplete_set_is_completed(tmp_path, few_scenes, damage):
    paths = make_demo_images(tmp_path)
    before = digests(tmp_path)
    manifest = tmp_path / datasets._MANIFEST
    if damage == "missing":
        Path(paths[1]).unlink()
    elif damage == "truncated":
        Path(paths[1]).write_bytes(Path(paths[1]).read_bytes()[:500])
    elif damage == "no manifest":
        manifest.unlink()
    else:
        manifest.write_bytes(b"{\xff")
    make_demo_images(tmp_path)
    assert digests(tmp_path) == before


@pytest.mark.parametrize("name", ["holiday.jpg", "horse/mine.jpg", "other/horse_000.jpg"])
def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path, few_scenes, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(FileExistsError, match=f"holds '{name}'"):
        make_demo_images(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]
    assert (tmp_path / name).read_bytes() == b"precious"


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="is a file"):
        make_demo_images(tmp_path / "file")


def test_nothing_is_asked_of_the_network(tmp_path, few_scenes, monkeypatch):
    def no_network(*args, **kwargs):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "socket", no_network)
    assert len(make_demo_images(tmp_path)) == 7


def test_without_scikit_image_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ImportError, match=r"dinov2-sklearn\[demo\]"):
        make_demo_images(tmp_path / "images")
    assert not (tmp_path / "images").exists()
