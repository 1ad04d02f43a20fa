"""The story of someone with camera traps: from a detector's boxes to a second round of labels."""

import csv
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinov2_sklearn import load_embeddings, load_labels, load_selection
from dinov2_sklearn.cli import main
from dinov2_sklearn.images import ImageRef, image_size, load_image
from dinov2_sklearn.selection import copy_images, read_selection, write_selection, write_yolo

CAMERAS = ("north", "south", "river")


@pytest.fixture(scope="module")
def trap(tmp_path_factory, tiny_dinov2):
    """Frames of three cameras, each empty but for an object, and a detector's JSON.

    Of 300 frames twelve show the same empty background. It has the embeddings of the boxes, too.
    """
    pytest.importorskip("skimage")
    from dinov2_sklearn import make_demo_images

    folder = tmp_path_factory.mktemp("trap")
    things = make_demo_images(folder / "demo")
    rng = np.random.default_rng(0)
    entries = []
    for i in range(300):
        camera = CAMERAS[min(int(rng.integers(6)), 2)]  # the river has two thirds
        frame = Image.new("RGB", (320, 180), (40 + 30 * CAMERAS.index(camera), 90, 60))
        name = f"frames/{camera}/{i:03}.jpg"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        box = None
        if i % 25:
            thing = Image.open(things[i % len(things)]).resize((96, 80))
            left, top = int(rng.integers(0, 220)), int(rng.integers(0, 96))
            frame.paste(thing, (left, top))
            box = [left / 320, top / 180, 96 / 320, 80 / 180]
        frame.save(folder / name, quality=95)
        found = [{"category": "1", "conf": 0.9, "bbox": box}] if box else []
        entries.append({"file": name, "detections": found})
    contents = {"images": entries, "detection_categories": {"1": "animal"}}
    (folder / "detections.json").write_text(json.dumps(contents))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        command = f"extract --boxes detections.json --min-confidence 0.3 --model {tiny_dinov2} "
        command += "--crop-mode squash --output boxes.npz --quiet"
        assert main(command.split()) == 0
        patch.undo()
    return folder


@pytest.fixture
def at_trap(trap, monkeypatch):
    monkeypatch.chdir(trap)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield trap


def rows_of(file):
    with Path(file).open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_story_of_a_camera_trap(at_trap):
    embedded = load_embeddings("boxes.npz")
    assert len(embedded) == 288  # the empty frames have no box
    assert set(embedded.columns) == {"label", "confidence", "picture"}
    # Which camera took each box is known by its folder.
    with Path("table.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image_path", "camera"])
        table.writerows([box, ImageRef(box).file.split("/")[1]] for box in embedded.image_ids)
    select = "select --embeddings boxes.npz --n 30 --table table.csv --group-by camera "
    select += "--group-balance equal --dedupe 0.999999 "
    assert main(f"{select} --output picks.csv".split()) == 0
    picks = rows_of("picks.csv")
    assert [sum(pick["camera"] == name for pick in picks) for name in CAMERAS] == [10, 10, 10]
    assert {pick["label"] for pick in picks} == {"animal"}

    tasks = f"{select} --output tasks.json --format label-studio --root ."
    assert main(tasks.split()) == 0
    tasks = json.loads(Path("tasks.json").read_text())
    box = tasks[0]["predictions"][0]["result"][0]["value"]
    assert box["rectanglelabels"] == ["animal"]
    assert round(box["width"] / 100 * 320) in (96, 97)
    assert tasks[0]["data"]["camera"] in CAMERAS
    # Label Studio gives the tasks back with a choice each.
    for task in tasks:
        choice = {"value": {"choices": ["wren"]}, "type": "choices"}
        task["annotations"] = [{"result": [choice]}]
    Path("labelled.json").write_text(json.dumps(tasks))
    labels = load_labels("labelled.json", embedded.image_ids)
    assert [*np.flatnonzero(labels == "wren")] == sorted(
        load_selection("picks.csv", embedded.image_ids)
    )
    again = f"{select} --exclude picks.csv --output second.csv"
    assert main(again.split()) == 0
    both = [pick["filepath"] for file in ("picks.csv", "second.csv") for pick in rows_of(file)]
    assert len(set(both)) == 60


def test_columns_travel_through_a_table_to_the_page(at_trap, tiny_dinov2):
    frames = sorted(map(str, Path("frames").rglob("*.jpg")))[::10]
    with Path("frames.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image_path", "camera", "day"])
        table.writerows([frame, frame.split("/")[1], i] for i, frame in enumerate(frames))
    for output in ("frames.pt", "frames.parquet", "shards"):
        extract = f"extract --input frames.csv --model {tiny_dinov2} --crop-mode pad --quiet "
        assert main([*extract.split(), "--output", output]) == 0
        if output == "frames.pt":
            draw = f"visualize --embeddings {output} --color-by camera --output map.html"
            assert main(draw.split()) == 0
            assert Path("map.html").stat().st_size > 0
        pick = f"select --embeddings {output} --n 6 --group-by camera --output few.csv"
        assert main(pick.split()) == 0
        assert {row["camera"] for row in rows_of("few.csv")} <= set(CAMERAS)
        assert [row["day"] for row in rows_of("few.csv")] == [
            str(frames.index(row["filepath"])) for row in rows_of("few.csv")
        ]


@pytest.mark.parametrize(
    ("command", "cause"),
    [
        ("extract --output x.npz", "Name the images with --input"),
        ("extract --boxes detections.json --input a --input b --output x.npz", "one --input at"),
        ("visualize --embeddings boxes.npz --color-by dog --output x.png", "'dog' is not known"),
        ("select --embeddings boxes.npz --n 3 --group-by dog --output x.csv", "'dog' is not known"),
    ],
)
def test_a_command_that_makes_no_sense_of_columns_says_so(at_trap, capsys, command, cause):
    assert main(command.split()) == 1
    assert cause in capsys.readouterr().err


def test_a_table_with_two_rows_of_an_image_must_agree(at_trap, capsys):
    boxes = load_embeddings("boxes.npz").image_ids
    lines = [f'"{box}",north' for box in boxes] + [f'"{boxes[0]}",south']
    Path("double.csv").write_text("\n".join(["image_path,camera", *lines]))
    command = "select --embeddings boxes.npz --n 3 --table double.csv --output x.csv"
    assert main(command.split()) == 1
    assert "2 rows of" in capsys.readouterr().err


def test_exports_keep_the_object(at_trap, tmp_path):
    coco = pytest.importorskip("pycocotools.coco")
    embedded = load_embeddings("boxes.npz")
    boxes = embedded.image_ids[:5]
    # A second box of the first picture.
    boxes.append(f"{ImageRef(boxes[0]).file}#xywh=1,2,30,40")
    labels = ["wren", "robin", "wren", "robin", "wren", "robin"]
    write_selection(
        tmp_path / "coco.json", boxes, range(6), format="coco", columns={"label": labels}
    )
    read = coco.COCO(str(tmp_path / "coco.json"))
    assert len(read.imgs) == 5
    assert [a["bbox"][2:] for a in read.loadAnns(read.getAnnIds())][-1] == [30, 40]
    assert {c["name"] for c in read.loadCats(read.getCatIds())} == {"wren", "robin"}
    assert read.dataset["licenses"]
    assert read_selection(tmp_path / "coco.json").paths == boxes
    write_selection(
        tmp_path / "tasks.json",
        boxes,
        range(6),
        format="label-studio",
        root="/",
        columns={"label": labels},
    )
    assert [ImageRef(p).absolute for p in boxes] == read_selection(
        tmp_path / "tasks.json", root="/"
    ).paths
    write_selection(
        tmp_path / "fiftyone.csv", boxes, range(6), format="fiftyone", columns={"label": labels}
    )
    first = rows_of(tmp_path / "fiftyone.csv")[0]
    assert (first["filepath"], first["label"]) == (ImageRef(boxes[0]).file, "wren")
    shares = np.array(json.loads(first["bounding_box"])) * [320, 180, 320, 180]
    assert np.allclose(shares[2:], load_image(boxes[0]).size)
    assert read_selection(tmp_path / "fiftyone.csv").paths == boxes
    write_yolo(tmp_path / "yolo", boxes, labels)
    from dinov2_sklearn import list_boxes

    again = list_boxes(tmp_path / "yolo" / "labels")
    assert sorted(again.columns["label"]) == sorted(labels)
    names = {Path(ImageRef(box).name).stem: load_image(box).size for box in boxes[1:5]}
    for box in again:
        stem = Path(ImageRef(box).name).stem
        if stem in names:
            assert np.allclose(image_size(box), names[stem], atol=1)
    with pytest.raises(ValueError, match="is none"):
        write_yolo(tmp_path / "yolo", [ImageRef(boxes[0]).file])


def test_tasks_of_urls_need_no_root(tmp_path):
    paths = ["https://x.org/a.jpg", "s3://bucket/b.jpg"]
    write_selection(tmp_path / "tasks.json", paths, [1, 0], format="label-studio")
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert [task["data"]["image"] for task in tasks] == paths[::-1]
    assert read_selection(tmp_path / "tasks.json").paths == paths[::-1]


def test_crops_or_whole_images_are_copied_as_asked(at_trap, tmp_path):
    boxes = load_embeddings("boxes.npz").image_ids[:2]
    boxes.append(f"{ImageRef(boxes[0]).file}#xywh=1,2,30,40")
    crops = copy_images(boxes, tmp_path / "crops")
    assert len(set(crops)) == 3
    for box, crop in zip(boxes, crops, strict=True):
        assert np.array_equal(np.asarray(Image.open(crop)), np.asarray(load_image(box)))
    assert copy_images(boxes, tmp_path / "crops") == crops
    whole = copy_images(boxes, tmp_path / "whole", whole=True)
    assert whole[0] == whole[2]
    assert Path(whole[0]).read_bytes() == Path(ImageRef(boxes[0]).file).read_bytes()
    with pytest.raises(ValueError, match="No link can lead to"):
        copy_images(boxes, tmp_path / "links", mode="symlink")


def test_images_that_moved_are_found_by_their_names_and_told(at_trap, tmp_path):
    boxes = load_embeddings("boxes.npz").image_ids[:6]
    write_selection(tmp_path / "picks.csv", boxes, [4, 2])
    (tmp_path / "labels.csv").write_text(f'path,label\n"{boxes[3]}",wren\n')
    moved = [f"elsewhere/{Path(box).name}" for box in boxes]
    with pytest.warns(UserWarning, match="2 of the 2 images .* found by their names"):
        assert load_selection(tmp_path / "picks.csv", moved).tolist() == [4, 2]
    with pytest.warns(UserWarning, match="found by their names"):
        assert load_labels(tmp_path / "labels.csv", moved)[3] == "wren"
    # Not where two have the name.
    double = [*moved, f"third/{Path(boxes[4]).name}"]
    with (
        pytest.warns(UserWarning, match="1 of the 2 images"),
        pytest.raises(ValueError, match="1 of 2 paths"),
    ):
        load_selection(tmp_path / "picks.csv", double)


def test_several_inputs_and_frames_on_the_command_line(at_trap, tiny_dinov2, tmp_path, write_clip):
    write_clip(tmp_path / "clip.mp4", rate=4, n_frames=12, step=20)
    run = f"extract --model {tiny_dinov2} --quiet --output {tmp_path}/x.npz "
    assert main(f"{run} --input {tmp_path}/clip.mp4 --frames 1".split()) == 0
    assert load_embeddings(tmp_path / "x.npz").columns["time"] == [0, 1, 2]
    for name in "ab":
        (tmp_path / name).mkdir()
        shutil.copy(next(Path("frames").rglob("*.jpg")), tmp_path / name / "p.jpg")
        shutil.copy(next(Path("frames").rglob("*.jpg")), tmp_path / name / "q.jpg")
    inputs = f"--input {tmp_path}/a --input {tmp_path}/b --exclude-pattern q.*"
    assert main(f"{run} {inputs}".split()) == 0
    found = load_embeddings(tmp_path / "x.npz").image_ids
    assert found == [f"{tmp_path}/{name}/p.jpg" for name in "ab"]
