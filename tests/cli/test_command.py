"""The command: every option, and a round of work from end to end."""

import base64
import csv
import gzip
import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinov2_sklearn import (
    DINOv2Transformer,
    DiversitySampler,
    PatchAttentionInspector,
    UMAPProjector,
    contact_sheet,
    label_uncertainty,
    load_embeddings,
    load_selection,
    open_shards,
    save_embeddings,
    save_labels,
)
from dinov2_sklearn.cli import _COMMANDS, _parser, main
from dinov2_sklearn.cli._options import _defaults, given
from dinov2_sklearn.selection import read_selection

pytestmark = pytest.mark.slow

COMMAND = str(Path(sys.executable).with_name("dinov2-sklearn"))

# What is run below, as it is typed. {model} is a tiny checkpoint.
EXTRACT_ALL = (
    "extract --input list.csv --image-col file --output all.npz --model {model} --revision main "
    "--image-size 42 --device cpu,cpu --dtype float32 --batch-size 2 --num-workers 1 --layer 0 "
    "--layer -1 --pooling cls_mean --normalize --cache cache --on-error raise --shard-size 4 "
    "--crop-mode squash --bands 1,2,3 --value-range 0,4095 --max-pixels 9000000 "
    "--truncated accept --json --quiet"
)
EXTRACT = (
    "extract --input photos --pattern *.png --exclude-pattern *.gif --output shards "
    "--model {model} --json"
)
MAP = (
    "visualize --embeddings all.npz --output map.png --n-clusters 3 --n-neighbors 5 --min-dist 0.2 "
    "--metric euclidean --title Birds --width 4 --height 3 --dpi 50 --dot-size 20 "
    "--colormap tab10 --no-axes --axes --seed 1 --selection picks.csv --root . --json --quiet"
)
PAGE = (
    "visualize --embeddings all.npz --output map.html --interactive --show-images --dedupe 0.99 "
    "--color-by day"
)
SELECT = (
    "select --embeddings all.npz --output picks.csv --n 3 --strategy typical --n-clusters 2 "
    "--fps-ratio 0.5 --metric cosine --seed 1 --copy-to picked --copy-mode symlink "
    "--contact-sheet picks.jpg --force --json --quiet"
)
AGAIN = (
    "select --embeddings all.npz --output more.json --n 0.4 --exclude picks.csv --format "
    "label-studio --root . --json"
)
GROUPS = (
    "select --embeddings all.npz --output groups.csv --n 4 --strategy coverage --min-distance 0 "
    "--table cameras.csv --image-col file --group-by camera --group-balance equal --prove --json"
)
DEDUPE = (
    "dedupe --embeddings all.npz --output duplicates.csv --min-similarity 0.99 --linkage complete "
    "--keep first --against old.npz --copy-kept-to kept --contact-sheet groups.jpg --force --json "
    "--quiet"
)
ONE_OF_EACH = "select --embeddings all.npz --output one.csv --n 2 --dedupe 0.99 --json"
NEXT_ROUND = (
    "select --embeddings all.npz --output next.csv --n 2 --labels labels.csv --prove --json"
)
AUDIT = (
    "audit --embeddings all.npz --labels labels.csv --output suspects.csv --n 3 --n-neighbors 2 "
    "--min-similarity 0.999 --root . --contact-sheet suspects.jpg --force --json --quiet"
)
LABEL_REPORT = (
    "report --embeddings all.npz --labels labels.csv --curve curve.png --seed 1 --root . --json "
    "--quiet"
)
PATCHES = (
    "patches --images photos --pattern *.png --output attention --model {model} --revision main "
    "--crop-mode pad --bands 3,2,1 --value-range 0,4095 --max-pixels none --truncated accept "
    "--exclude-pattern *.gif --layer 1 --head 0 --limit 2 --image-size 56 --device cpu "
    "--dtype float32 --batch-size 1 --num-workers 0 --json --quiet"
)
ROLLOUT = "patches --images list.csv --image-col file --output rollout --model {model} --rollout"
PCA = "patches --images photos --output pca --model {model} --pca"
RUN = "run pipe.joblib --input list.csv --image-col file --pattern * --output night --json --quiet"
RUN_PNG = (
    "run pipe.joblib --input photos --exclude-pattern bad.png --exclude-pattern *.jpg --output pngs"
)
PARTS = [
    f"{command} {part}"
    for command, source in (
        ("extract --model {model} --output parts.npz --json", "--input"),
        ("patches --model {model} --output parts --json", "--images"),
        ("run pipe.joblib --output parts --json", "--input"),
    )
    for part in (
        "--boxes boxes.csv --min-confidence 0.5 --padding 0.1 --square",
        f"{source} clip.mp4 --frames 1",
        f"{source} photos --pages --exclude-pattern bad.* --storage-options {{}}",
    )
]
ALL = [
    EXTRACT_ALL,
    EXTRACT,
    MAP,
    PAGE,
    SELECT,
    AGAIN,
    GROUPS,
    DEDUPE,
    ONE_OF_EACH,
    NEXT_ROUND,
    AUDIT,
    LABEL_REPORT,
    PATCHES,
    ROLLOUT,
    PCA,
    RUN,
    RUN_PNG,
    *PARTS,
]
# Run in tests/test_demo.py.
DEMO = "demo --output demo --n 24 --json --quiet"
MODELS = "models --json --quiet"


@pytest.fixture
def desk(tmp_path, image_folder, tiny_dinov2, monkeypatch):
    """A folder to work in: ten photographs, a bad one, and a list of the ten."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for i in range(10):
        image = Image.open(image_folder[i % 6]).convert("RGB").rotate(7 * i)
        image.save(f"photos/bird {i}.{'png' if i % 2 else 'jpg'}")
    rows = [f"{path},{i % 3}\n" for i, path in enumerate(sorted(Path().glob("*/*")))]
    Path("list.csv").write_text("file,day\n" + "".join(rows))
    Path("photos/bad.png").write_bytes(b"\x89PNG\r\n\x1a\n no more")
    Path("model").symlink_to(tiny_dinov2)
    return tmp_path


@pytest.fixture
def run(capsys):
    """Run a command; return what it printed, as JSON if it was asked for."""

    def run(line, *, status=0):
        assert main(words(line)) == status
        out, err = capsys.readouterr()
        return json.loads(out) if "--json" in line else out + err

    return run


def run_process(line, *, status=0):
    """Run the installed command; return what it printed on standard output."""
    done = subprocess.run([COMMAND, *words(line)], capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    return done.stdout


def words(line):
    return [word.replace("{model}", "./model") for word in line.split()]


def test_every_option_is_run_here():
    (subparsers,) = [a for a in _parser()._actions if isinstance(a.choices, dict)]
    assert len(subparsers.choices) == len(_COMMANDS)
    for name, command in subparsers.choices.items():
        lines = [line for line in (*ALL, DEMO, MODELS) if line.split()[0] == name]
        used = {word for line in lines for word in line.split()}
        options = {option for action in command._actions for option in action.option_strings}
        assert options - {"-h", "--help"} <= used


def test_a_round_of_work(desk, run):
    found = json.loads(run_process(EXTRACT_ALL))
    assert found["n_images"] == 10
    embeddings = load_embeddings("all.npz")
    assert embeddings.embeddings.shape == (10, 4 * 32)
    np.testing.assert_allclose(np.linalg.norm(embeddings.embeddings, axis=1), 1, atol=1e-5)
    assert not Path("all.npz.partial").exists()

    found = run(EXTRACT, status=3)
    assert found["n_images"] == 5  # without the bad one
    assert [entry["image_id"] for entry in found["skipped"]] == ["photos/bad.png"]
    assert open_shards("shards").errors[0]["cause"] == found["skipped"][0]["cause"]

    found = run(SELECT)
    picks = load_selection("picks.csv", embeddings.image_ids)
    assert found["picks"] == [embeddings.image_ids[row] for row in picks]
    links = {link.name: link for link in Path("picked").iterdir()}
    assert links.keys() == {Path(path).name for path in found["picks"]}
    assert all(link.is_symlink() for link in links.values())
    title = "3 picks, in order"
    with Image.open(found["contact_sheet"]) as sheet:
        difference = np.asarray(sheet) - np.asarray(contact_sheet(found["picks"], title=title), int)
    assert abs(difference).mean() < 2  # what JPEG makes of it

    more = run(AGAIN)
    assert (more["n_picks"], more["n_excluded"]) == (3, 3)  # 0.4 of those left
    assert not set(more["picks"]) & set(found["picks"])
    again = load_selection("more.json", embeddings.image_ids, root=".")
    assert [embeddings.image_ids[row] for row in again] == more["picks"]

    ids = embeddings.image_ids
    cameras = [f"{path},{'north' if i < 8 else 'south'}" for i, path in enumerate(ids)]
    Path("cameras.csv").write_text("\n".join(["file,camera", *cameras[::-1]]))
    grouped = run(GROUPS)
    assert 0 < grouped["representation"] < 1
    assert 0 <= grouped["gap"] < 1
    chosen = read_selection("groups.csv")
    assert sorted(chosen.columns["camera"]) == ["north", "north", "south", "south"]
    lines = zip(chosen.paths, chosen.columns["camera"], strict=True)
    assert {",".join(line) for line in lines} <= set(cameras)

    run(MAP)
    with Image.open("map.png") as picture:
        assert picture.size == (200, 150)
    run(PAGE)
    with_images = Path("map.html").stat().st_size
    run(PAGE.replace("--show-images", "").replace("by day", "by folder"))
    assert Path("map.html").stat().st_size < with_images - 5000
    # The page colours by the first column, which keeps its own title.
    found = re.search(r'id="data"[^>]*>([^<]+)<', Path("map.html").read_text())[1]
    columns = json.loads(gzip.decompress(base64.b64decode(found)))["columns"]
    assert [column["title"] for column in columns][:2] == ["folder", "day"]


def test_a_round_with_labels(desk, run):
    draw = np.random.default_rng(0)
    paths = [f"photos/{name}.jpg" for name in range(40)]
    truth = np.arange(40) % 2
    rows = draw.normal(size=(40, 16)) + 5 * np.eye(16)[truth]
    save_embeddings("all.npz", rows, paths, model_name="model")
    for path in paths:
        Image.new("RGB", (8, 8)).save(path)
    labelled = np.arange(24)
    y = np.where(np.arange(40) < 24, np.array(["wren", "robin"])[truth], None)
    y[6] = "robin"
    save_labels("labels.csv", paths, y)
    found = run(NEXT_ROUND)
    assert found["n_excluded"] == 24
    assert not {paths[row] for row in labelled} & set(found["picks"])
    sampler = DiversitySampler(2, strategy="coverage")
    picks = sampler.select(rows, preselected=labelled, weights=label_uncertainty(rows, y))
    assert found["picks"] == [paths[row] for row in picks]
    found = run(AUDIT)
    assert found["suspects"][0] == paths[6]
    assert Path("suspects.csv").read_text().splitlines()[1].startswith(f"{paths[6]},robin,wren,0.")
    assert len(found["suspects"]) == 3
    found = run(AUDIT.replace("--n 3 ", ""))
    assert found["suspects"][0] == paths[6]
    assert len(found["suspects"]) == found["n_differ"] < 6
    with Image.open("suspects.jpg") as sheet:
        assert sheet.width > 50
    assert "too many" not in run(AUDIT.replace("--json", ""))
    save_labels("guessed.csv", paths[:24], draw.integers(0, 4, 24))
    guessed = AUDIT.replace("labels.csv", "guessed.csv").replace("--json", "")
    assert "too many to be wrong" in run(guessed)
    found = run(LABEL_REPORT)
    assert found["accuracy"] > 0.9
    assert found["labels"] == {"robin": 13, "wren": 11}
    with Image.open("curve.png") as picture:
        assert picture.width > 300
    save_labels("labels.csv", paths[:3], ["wren"] * 3)
    assert "All labels are 'wren'" in run(NEXT_ROUND.replace("--json", ""))


def test_pictures_of_attention(desk, run):
    found = run(PATCHES, status=3)
    assert found["n_images"] == 1  # of the first two, one is bad
    text = run(ROLLOUT)
    assert "rollout: 10 pictures" in text
    text = run(PCA, status=3)
    assert "1 image was skipped" in text
    assert "photos/bad.png: the PNG file is truncated or damaged" in text
    for folder in ("pca", "rollout"):
        assert {path.name for path in Path(folder).iterdir()} == {
            f"bird {i}.png" for i in range(10)
        }


def test_pipeline_of_yesterday(desk, run):
    import joblib
    from sklearn.pipeline import Pipeline

    from dinov2_sklearn import DINOv2Transformer, DiversitySampler, UMAPProjector, list_images

    paths = list_images("list.csv", image_col="file")
    embed = DINOv2Transformer("./model")
    pipe = Pipeline([("embed", embed), ("select", DiversitySampler(3))]).fit(paths)
    joblib.dump(pipe, "pipe.joblib")
    found = run(RUN)
    assert found["picks"] == paths[pipe["select"].selected_indices_].tolist()
    assert load_selection("night/selection.csv", paths).tolist() == (
        pipe["select"].selected_indices_.tolist()
    )
    projector = UMAPProjector(n_neighbors=3)
    joblib.dump(Pipeline([("embed", embed), ("map", projector)]).fit(paths), "pipe.joblib")
    run(RUN_PNG)
    assert load_embeddings("pngs/output.npz").embeddings.shape == (5, 2)
    run(RUN)
    assert load_embeddings("night/output.npz").embeddings.shape == (10, 2)


def test_parts_of_files(desk, run, write_clip):
    import joblib
    from sklearn.pipeline import make_pipeline

    write_clip("clip.mp4", rate=2, n_frames=6, step=40)
    boxes = ["photos/bird 0.jpg,0,0,20,20,0.9", "photos/bird 0.jpg,9,9,20,20,0.9"]
    boxes.append("photos/bird 2.jpg,0,0,20,20,0.3")
    Path("boxes.csv").write_text("\n".join(["image_path,x,y,width,height,confidence", *boxes]))
    joblib.dump(
        make_pipeline(DINOv2Transformer("./model")).fit(["photos/bird 0.jpg"]), "pipe.joblib"
    )
    for line, n_images in zip(PARTS, 3 * (2, 3, 10), strict=True):
        run(line)
        if line.startswith("patches"):
            pictures = [path for path in Path("parts").iterdir() if path.is_file()]
            assert len(pictures) == n_images
            shutil.rmtree("parts")
        else:
            file = "parts.npz" if line.startswith("extract") else "parts/output.npz"
            assert len(load_embeddings(file)) == n_images


def test_models(run):
    models = {entry["name"]: entry for entry in run(MODELS)["models"]}
    assert models["base"]["dim"] == 768
    assert models["offline"]["cached"]
    assert (models["base"]["license"], models["base"]["gated"]) == ("Apache-2.0", False)
    assert models["facebook/dinov3-vits16-pretrain-lvd1689m"]["gated"]


def test_interrupted_extraction_goes_on(desk, image_folder):
    for i in range(400):
        Path(f"photos/{i}.jpg").symlink_to(image_folder[0])
    line = "extract --input photos --output all.pt --model offline --batch-size 2 --shard-size 2"
    # A pseudo-terminal, since progress is shown on a terminal only.
    controller, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    process = subprocess.Popen(
        [COMMAND, *line.split()],
        stderr=terminal,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    shown = b""
    # Three images at least: the first shard of two is whole then, whatever is waited for.
    while not re.search(rb" ([3-9]|\d\d+)/411 ", shown):
        shown += os.read(controller, 1000)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    os.close(terminal)
    assert b"interrupted" in os.read(controller, 100_000)
    os.close(controller)
    finished = Path("all.pt.partial/finished.jsonl").read_text().splitlines()
    assert json.loads(finished[0])["stop"] >= 2
    shutil.rmtree("all.pt.partial")


def test_reader_that_has_seen_enough():
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([COMMAND, "models"], **pipes) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion(shell, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--print-completion", shell])
    assert not stop.value.code
    script = capsys.readouterr().out
    assert "extract" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_as_a_module(desk):
    arguments = [sys.executable, "-m", "dinov2_sklearn", "--version"]
    assert subprocess.run(arguments, capture_output=True).stdout.startswith(b"dinov2-sklearn ")


@pytest.mark.parametrize(
    ("line", "estimator"),
    [
        ("extract --input a --output b", DINOv2Transformer),
        ("select --embeddings a --output b --n 1", DiversitySampler),
        ("visualize --embeddings a --output b", UMAPProjector),
        ("patches --images a --output b", PatchAttentionInspector),
    ],
)
def test_defaults_are_those_of_the_estimators(line, estimator):
    owner = f"{estimator.__module__}.{estimator.__name__}".removeprefix("dinov2_sklearn.")
    assert given(_parser().parse_args(line.split()), owner) == {}
    # What help tells of them is read from the source.
    signature = inspect.signature(estimator).parameters
    defaults = _defaults(owner)
    assert len(defaults) > len(signature) / 2
    assert defaults == {name: signature[name].default for name in defaults}


def test_one_of_each(desk, run):
    photos = sorted(Path("photos").glob("bird*"))
    shutil.copy(photos[0], "photos/copy.jpg")
    with Image.open(photos[1]) as image:
        image.save("photos/near.webp", quality=95)
    names = [*map(str, photos), "photos/copy.jpg", "photos/near.webp"]
    rows = np.eye(13)[[*range(10), 0, 1]] + 0.0
    rows[11, 12] = 0.05
    save_embeddings("all.npz", rows, names, model_name="m")
    save_embeddings("old.npz", rows[4:5], ["old/bird.jpg"], model_name="m")
    found = run(DEDUPE)
    assert (found["n_images"], found["n_groups"], found["largest_group"]) == (12, 10, 2)
    assert (found["n_kept"], found["n_identical"], found["n_known"]) == (9, 1, 1)
    with Path("duplicates.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["path", "group", "kept", "similarity", "nearest"]
    assert [line["path"] for line in lines] == names
    assert [int(line["group"]) for line in lines] == [*range(10), 0, 1]
    assert [int(line["kept"]) for line in lines] == [1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0, 0]
    assert (lines[4]["nearest"], lines[4]["similarity"]) == ("old/bird.jpg", "1.000000")
    assert (lines[10]["nearest"], lines[11]["nearest"]) == (names[0], names[1])
    assert 0.99 < float(lines[11]["similarity"]) < 1
    assert {file.name for file in Path("kept").iterdir()} == {
        Path(line["path"]).name for line in lines if line["kept"] == "1"
    }
    with Image.open(found["contact_sheet"]) as sheet:
        assert sheet.width > 100
    assert all(Path(name).exists() for name in names)

    found = run(ONE_OF_EACH.replace("--n 2", "--n 10"))
    assert found["n_images"] == 12
    groups = dict(zip(names, [*range(10), 0, 1], strict=True))
    assert sorted(groups[path] for path in found["picks"]) == list(range(10))
    picks = load_selection("one.csv", names)
    assert [names[row] for row in picks] == found["picks"]
    Path("labelled.txt").write_text("photos/copy.jpg\n")
    found = run(ONE_OF_EACH.replace("--n 2", "--n 9 --exclude labelled.txt"))
    assert sorted(groups[path] for path in found["picks"]) == list(range(1, 10))
