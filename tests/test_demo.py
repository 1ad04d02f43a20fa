"""The command line, and the demo from end to end."""

import base64
import csv
import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dinov2_sklearn
from dinov2_sklearn import load_embeddings
from dinov2_sklearn.cli import _demo, main
from dinov2_sklearn.cli._demo import _embed

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "dinov2_sklearn"]


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"]])
def test_help_names_what_there_is(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0
    output = capsys.readouterr()
    assert output.err == ""
    for word in ["demo", "250"]:
        assert word in output.out


def test_help_loads_no_heavy_library():
    heavy = ["torch", "transformers", "umap", "numba", "numpy", "sklearn", "matplotlib", "plotly"]
    code = (
        "import sys; from dinov2_sklearn.cli import main\n"
        "try: main(['--help'])\n"
        f"finally: sys.exit(repr(set({heavy}) & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stderr.strip() == "set()"


def test_help_answers_at_once():
    """Within 0.3 s of processor time beyond the interpreter's own, in the best of several tries."""

    def seconds(*command: str) -> float:
        before = os.times()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        after = os.times()
        return after.children_user + after.children_system - sum(before[2:4])

    bare = min(seconds("-c", "pass") for _ in range(5))
    assert min(seconds("-m", "dinov2_sklearn", "--help") for _ in range(5)) < bare + 0.3


def test_version():
    result = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True)
    assert result.returncode == 0
    assert result.stdout == f"dinov2-sklearn {dinov2_sklearn.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["paint"], "invalid choice: 'paint'"),
        (["demo", "--n", "0"], "'0' is not a positive whole number"),
        (["demo", "--n", "many"], "'many' is not a positive whole number"),
        (["demo", "--size", "3"], "unrecognized arguments: --size"),
    ],
)
def test_a_wrong_command_line_is_status_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert message in output.err


def test_a_failure_is_status_1_and_one_line(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "holiday.jpg").touch()
    assert main(["demo", "--output", str(tmp_path), "--quiet"]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("dinov2-sklearn: error: ")
    assert "holds 'holiday.jpg'" in output.err
    assert output.err.count("\n") == 1


def test_more_picks_than_images_are_refused(tmp_path, capsys):
    assert main(["demo", "--output", str(tmp_path), "--quiet", "--n", "253"]) == 1
    assert "252 demo images: 253 cannot be picked" in capsys.readouterr().err


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The whole demo, which takes most of a minute on two cores."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    command = [*COMMAND, "demo", "--output", str(folder)]
    return folder, subprocess.run(command, capture_output=True, text=True)


def test_demo_writes_every_file_it_names(demo):
    folder, result = demo
    assert result.returncode == 0, result.stderr
    files, _, last = result.stdout.split("Files:\n")[1].partition("\n\n")
    named = [line.split()[-1] for line in files.splitlines()]
    assert last.startswith(f"Open {folder / 'umap.html'} in a browser")
    assert sorted(map(Path, named)) == sorted(p for p in folder.iterdir() if p.suffix != ".json")
    for path in map(Path, named):
        assert path.is_dir() or path.stat().st_size > 1000, path
    # A thumbnail of each image, inside the page: the lengths of their texts.
    page = (folder / "umap.html").read_text(encoding="ascii")
    (packed,) = re.findall(r'<script[^>]*id="data"[^>]*>([^<]+)<', page)
    data = json.loads(gzip.decompress(base64.b64decode(packed)))
    thumbnails = np.frombuffer(base64.b64decode(data["pictures"]["lengths"]), dtype="<i4")
    assert len(thumbnails) == 252
    assert thumbnails.min() > 100


def test_demo_covers_more_scenes_than_random_draws_do(demo):
    folder, result = demo
    with (folder / "selection.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    ids = load_embeddings(folder / "embeddings.pt").image_ids
    assert [ids[int(row["index"])] for row in rows] == [row["filepath"] for row in rows]
    scenes = np.array([Path(image_id).parent.name for image_id in ids])
    covered = {Path(row["filepath"]).parent.name for row in rows}
    rng = np.random.RandomState(7)
    random = [len(set(scenes[rng.permutation(len(scenes))[:24]])) for _ in range(1000)]
    assert len(rows) == 24
    assert len(covered) > max(random)
    assert f"DiversitySampler       {len(covered)} of 22" in result.stdout
    # Most frames of a scene are copies; no scene is a copy of another.
    assert 22 <= int(re.search(r"one of each leaves +(\d+) of 252", result.stdout)[1]) < 100
    assert int(re.search(r"take away (\d+)% of the spread", result.stdout)[1]) > 85
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("  random"))
    assert float(line.split()[1]) == pytest.approx(np.mean(random), abs=0.6)


def test_demo_pictures_are_of_a_good_size(demo):
    for name in ["contact_sheet.jpg", "umap.png", "attention.png", "patches.png"]:
        with Image.open(demo[0] / name) as image:
            image.load()
            assert min(image.size) >= 300, name
            assert np.asarray(image.convert("L")).std() > 5, name


def test_demo_says_nothing_but_its_progress(demo):
    expected = ["Making", "Embedding", "Picking", "Drawing", "Looking"]
    lines = demo[1].stderr.splitlines()
    assert [line.split()[0] for line in lines] == expected
    assert all(line.endswith("...") for line in lines)


def test_second_demo_reuses_the_embeddings(demo, capsys, monkeypatch):
    folder, first = demo
    for draw in ("_draw_map", "_draw_attention", "_draw_patches"):  # once is enough
        monkeypatch.setattr(_demo, draw, lambda *arguments: None)
    before = (folder / "embeddings.pt").stat().st_mtime_ns
    chosen = (folder / "selection.csv").read_bytes()
    assert main(["demo", "--output", str(folder), "--quiet"]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    assert "earlier run" not in first.stdout
    assert "earlier run" in output.out
    assert (folder / "embeddings.pt").stat().st_mtime_ns == before
    assert (folder / "selection.csv").read_bytes() == chosen


def test_embeddings_of_other_images_are_not_reused(tmp_path):
    paths = [str(tmp_path / name) for name in ("a.jpg", "b.jpg")]
    for path, colour in zip(paths, ["red", "blue"], strict=True):
        Image.new("RGB", (64, 64), colour).save(path)
    file, said = tmp_path / "embeddings.pt", []
    first, reused = _embed(paths, file, said.append, quiet=True)
    assert not reused
    again, reused = _embed(paths, file, said.append, quiet=True)
    assert reused
    np.testing.assert_array_equal(again, first)
    assert not _embed(paths[::-1], file, said.append, quiet=True)[1]
    assert not _embed(paths, file, said.append, quiet=True)[1]
    Image.new("RGB", (64, 64), "green").save(paths[1])
    changed, reused = _embed(paths, file, said.append, quiet=True)
    assert not reused
    assert not np.array_equal(changed[1], first[1])
    file.write_bytes(b"damaged")
    assert not _embed(paths, file, said.append, quiet=True)[1]
    assert any("damaged" in message for message in said)
    np.testing.assert_array_equal(load_embeddings(file).embeddings, changed)


def test_an_interrupted_run_says_so_without_a_traceback(tmp_path, monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(dinov2_sklearn, "make_demo_images", interrupted)
    assert main(["demo", "--output", str(tmp_path)]) == 130
    assert capsys.readouterr().err.endswith("dinov2-sklearn: interrupted\n")
