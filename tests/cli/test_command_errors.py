"""What is wrong is said in one line, with status 1 for a failure and 2 for a wrong usage."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinov2_sklearn import (
    DINOv2Transformer,
    DiversitySampler,
    load_embeddings,
    load_selection,
    save_embeddings,
)
from dinov2_sklearn.cli import main
from dinov2_sklearn.selection import read_selection

pytestmark = pytest.mark.slow


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(0).normal(size=(20, 4))
    save_embeddings("good.npz", rows, [f"{i}.jpg" for i in range(20)], model_name="m")
    rows[3] = np.nan
    save_embeddings("gap.npz", rows, [f"{i}.jpg" for i in range(20)], model_name="m")
    save_embeddings("none.npz", rows[3:4], ["3.jpg"], model_name="m")
    Path("damaged.npz").write_bytes(Path("good.npz").read_bytes()[:300])
    Path("text.txt").write_text("no embeddings")
    Path("empty.txt").write_text("")
    Path("column.csv").write_text("path\na.jpg\n")
    Path("other.csv").write_text("filepath\nelsewhere.jpg\n")
    Path("picks.txt").write_text("1.jpg\nelsewhere.jpg\n")
    Path("folder").mkdir()
    Path("a").mkdir()
    save_embeddings("two.npz", rows[:2], ["0.jpg", "1.jpg"], model_name="m")
    Path("numbers.json").write_text('[{"data": {"image": 3}}]')
    Path("empty.csv").write_text("")
    Path("text.jpg").write_text("text")
    Path("only.txt").write_text("text.jpg\n")
    Image.new("RGB", (60, 60)).save("a.jpg")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("extract --input missing --output a.npz", "missing"),
        ("dedupe --embeddings good.npz --output a.txt", "must end in .csv"),
        ("dedupe --embeddings good.npz --output a.csv --min-similarity 1.5", "at most 1.*1.5"),
        ("dedupe --embeddings good.npz --output a.csv --against no.npz", "no.npz"),
        (
            "dedupe --embeddings good.npz --output a.csv --copy-kept-to to",
            "'a.csv' is written, but the kept images could not.*No such file",
        ),
        ("select --embeddings good.npz --output a.csv --n 2 --dedupe 2", "at most 1.*2.0"),
        ("extract --input folder --output a.npz", "No images in the folder"),
        ("extract --input empty.txt --output a.npz", "empty.txt"),
        ("extract --input column.csv --output a.npz", "image_path.*path"),
        ("extract --input damaged.npz --output a.npz", "damaged.npz"),
        ("extract --input picks.txt --output no/a.npz", "'no' does not exist"),
        ("extract --input picks.txt --output a.csv", "extension '.csv'"),
        ("extract --input a.jpg --output a.npz --model ./modle", "modle.*folder"),
        ("select --embeddings missing.npz --output a.csv --n 3", "no embeddings file"),
        ("select --embeddings damaged.npz --output a.csv --n 3", "is damaged"),
        ("select --embeddings text.txt --output a.csv --n 3", "extension '.txt'"),
        (
            "select --embeddings folder --output a.csv --n 3",
            "no folder of shards.*extract_with_ray",
        ),
        ("select --embeddings none.npz --output a.csv --n 3", "no row without NaN"),
        ("select --embeddings good.npz --output no/a.csv --n 3", "'no' does not exist"),
        ("select --embeddings good.npz --output folder --n 3", "is a folder"),
        ("select --embeddings good.npz --output good.npz --format csv --n 3", "of the inputs"),
        (
            "select --embeddings good.npz --output picks.txt --exclude picks.txt --n 3",
            "of the inputs",
        ),
        (
            "select --embeddings good.npz --output a.csv --format json --n 3",
            "should end in '.json'",
        ),
        (
            "select --embeddings good.npz --output a.csv --n 3 --exclude numbers.json",
            "no selection",
        ),
        ("select --embeddings good.npz --output a.csv --n 3 --exclude empty.csv", "no selection"),
        ("visualize --embeddings two.npz --output a.png", "needs 3 images"),
        ("select --embeddings good.npz --output a.doc --n 3", "extension '.doc'"),
        ("select --embeddings good.npz --output a.csv --n 3 --exclude no.csv", "no selection"),
        ("select --embeddings good.npz --output a.csv --n 3 --exclude other.csv", "None of the 1"),
        ("select --embeddings good.npz --output a.csv --n 3 --exclude good.npz", "extension"),
        ("select --embeddings good.npz --output a.json --n 3 --format label-studio", "give that"),
        ("select --embeddings good.npz --output a.json --n 3 --format coco", "cannot be opened"),
        ("select --embeddings good.npz --output a.csv --n 3 --copy-to to", "No such file"),
        (
            "select --embeddings good.npz --output a.csv --n 3 --contact-sheet a.doc",
            "'a.doc' must end in .jpg or .*the extension says",
        ),
        (
            "select --embeddings good.npz --output a.csv --n 3 --contact-sheet no/a.jpg",
            "'no' does not exist",
        ),
        (
            "select --embeddings good.npz --output a.jpg --format csv --n 3 --contact-sheet a.jpg",
            "--contact-sheet 'a.jpg' is one of the inputs or outputs",
        ),
        (
            "select --embeddings good.npz --output a.csv --n 3 --group-by camera",
            "'camera' is not known of the images, only 'folder'",
        ),
        (
            "select --embeddings good.npz --output a.csv --n 3 --table column.csv --image-col path",
            "20 of the 20 embedded images are not in --table 'column.csv'.*'0.jpg'",
        ),
        (
            "select --embeddings good.npz --output a.csv --n 3 --table column.csv",
            "no column 'image",
        ),
        ("visualize --embeddings missing.npz --output a.png", "no embeddings file"),
        ("visualize --embeddings good.npz --output a.doc", "doc"),
        ("visualize --embeddings good.npz --output a.png --interactive", "writes a .html"),
        ("visualize --embeddings good.npz --output no/a.png", "'no' does not exist"),
        ("visualize --embeddings good.npz --output a.png --selection other.csv", "elsewhere.jpg"),
        ("patches --images missing --output to", "missing"),
        ("patches --images folder --output to", "No images in the folder"),
        ("run missing.joblib --input folder --output to", "no pipeline"),
        ("patches --images only.txt --output to --model MODEL", "None of the 1 images.*text.jpg"),
        ("extract --input only.txt --output a.npz --model MODEL", "None of the 1 images.*text.jpg"),
        ("run damaged.npz --input folder --output to", "cannot be loaded"),
    ],
)
def test_failures(desk, capsys, line, message, tiny_dinov2):
    line = line.replace("MODEL", tiny_dinov2)
    before = {path.name for path in desk.iterdir()}
    assert main(line.split()) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("dinov2-sklearn: error: ")
    assert "Traceback" not in captured.err
    assert re.search(message, captured.err)
    # Nothing is left but what was finished before.
    assert {path.name for path in desk.iterdir()} - before <= {"a.csv", "a.csv.json", "to"}


def test_a_contact_sheet_replaces_no_image(desk, capsys):
    for i in range(20):
        Image.new("RGB", (60, 60), (i, 0, 0)).save(f"{i}.jpg")
    before = Path("3.jpg").read_bytes()
    Path("link.jpg").symlink_to("3.jpg")
    line = "select --embeddings good.npz --n 20 --output"
    for sheet in ("3.jpg", "link.jpg", "text.jpg"):
        assert main([*line.split(), "none.csv", "--contact-sheet", sheet]) == 1
        assert f"{sheet!r} exists. Name another file, or" in capsys.readouterr().err
    for sheet in ("3.jpg", "link.jpg"):
        assert main([*line.split(), "none.csv", "--contact-sheet", sheet, "--force"]) == 1
        assert f"{sheet!r} is one of the images." in capsys.readouterr().err
    assert not Path("none.csv").exists()
    # Links that were gathered lead to the images, which no --force replaces.
    for folder, more, why in (("to", "", "exists"), ("by", " --force", "is one of the images")):
        gathered = f" all.csv --copy-to {folder} --copy-mode symlink --contact-sheet {folder}/3.jpg"
        Path(folder).mkdir()
        assert main((line + gathered + more).split()) == 1
        message = capsys.readouterr().err
        assert "'all.csv' is written, but the contact sheet could not be written" in message
        assert why in message
        # Where they lie there already, that is told before anything is written.
        assert main((line + gathered + " --force").split()) == 1
        assert f"error: --contact-sheet '{folder}/3.jpg' is one of" in capsys.readouterr().err
    assert Path("3.jpg").read_bytes() == before


@pytest.mark.parametrize("sheet", ["sheet.jpg", "sheet.png", "sheet.webp"])
def test_a_contact_sheet_is_replaced_by_force(desk, capsys, sheet):
    for i in range(0, 20, 2):
        Image.new("RGB", (60, 60), (i, 0, 0)).save(f"{i}.jpg")
    for n, force in ((20, ""), (6, "--force")):
        line = f"select --embeddings good.npz --n {n} --output all.csv --contact-sheet {sheet}"
        assert main([*line.split(), *force.split()]) == 3
        message = capsys.readouterr().err
        assert f"of {n} images on {sheet!r} are grey" in message
        assert ".jpg: no such file" in message
        with Image.open(sheet) as image:
            assert image.height == {20: 860, 6: 251}[n]


def test_a_name_that_the_format_cannot_hold_is_told_before_the_work(desk, capsys, tiny_dinov2):
    odd = os.fsdecode(b"folder/caf\xe9.png")
    Image.new("RGB", (60, 60)).save(odd)
    line = f"extract --input folder --output a.parquet --model {tiny_dinov2}"
    assert main(line.split()) == 1
    assert r"caf\udce9.png" in capsys.readouterr().err
    assert not list(desk.glob("a.parquet*"))


def test_a_full_disk_is_told_and_leaves_what_was_there(desk, tiny_dinov2):
    import joblib

    joblib.dump(DINOv2Transformer(tiny_dinov2), "pipe.joblib")
    lines = [
        f"extract --input a.jpg --output out.npz --model {tiny_dinov2}",
        "visualize --embeddings good.npz --output out.html",
        "visualize --embeddings good.npz --output out.png",
        "select --embeddings good.npz --output out.csv --n 3",
        "select --embeddings good.npz --output out.json --n 3",
        f"patches --images a.jpg --output out --model {tiny_dinov2}",
        "run pipe.joblib --input a.jpg --output out",
    ]
    earlier = [Path(f"out.{suffix}") for suffix in ("npz", "html", "png", "csv", "json")]
    for path in earlier:
        path.write_text("earlier")
    before = {path.name for path in desk.iterdir()}
    code = (
        "import resource, sys; from dinov2_sklearn.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60, 60))\n"
        "print(*[main(line.split()) for line in sys.argv[1:]])"
    )
    run = subprocess.run([sys.executable, "-c", code, *lines], capture_output=True, text=True)
    assert run.stdout.split() == ["1"] * len(lines), run.stderr
    assert run.stderr.count("File too large") == len(lines)
    assert "Traceback" not in run.stderr
    assert {path.read_text() for path in earlier} == {"earlier"}
    # What an extraction has finished waits to be gone on with.
    assert {path.name for path in desk.iterdir()} - before <= {"out", "out.npz.partial"}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "embed",
        "extract",
        "extract --input folder",
        "select --embeddings good.npz --output a.csv --n 0",
        "select --embeddings good.npz --output a.csv --n 1.5",
        "select --embeddings good.npz --output a.csv --n many",
        "select --embeddings good.npz --output a.csv --n 3 --fps-ratio 2",
        "select --embeddings good.npz --output a.csv --n 3 --strategy best",
        "extract --input folder --output a.npz --batch-size 0",
        "extract --input folder --output a.npz --num-workers -1",
        "patches --images folder --output to --rollout --pca",
    ],
)
def test_wrong_usage(desk, capsys, line):
    with pytest.raises(SystemExit) as caught:
        main(line.split())
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "needs"),
    [
        ("extract --input a.jpg --output a.npz --padding 0.1 --square", "--boxes reads"),
        ("extract --input a.jpg --output a.npz --min-confidence 0.2", "--boxes reads"),
        ("extract --input a.jpg --output a.npz --image-col file", "no table|there is none"),
        ("extract --boxes a.json --output a.npz --exclude-pattern b.*", "about folders"),
        ("extract --boxes a.json --output a.npz --frames 2", "about videos"),
        ("extract --input a.mp4 --frames 2 --output a.npz --pages", "about folders"),
        ("select --embeddings good.npz --output a.csv --n 3 --image-col file", "no --table"),
        (
            "select --embeddings good.npz --output a.csv --n 3 --group-balance equal",
            "no --group-by",
        ),
        ("select --embeddings good.npz --output a.csv --n 3 --copy-mode symlink", "no --copy-to"),
        ("select --embeddings good.npz --output a.csv --n 3 --force", "no --contact-sheet"),
        ("select --embeddings good.npz --output a.csv --n 3 --root .", "no file of paths is read"),
        ("select --embeddings good.npz --output a.csv --n 3 --n-clusters 2", "cluster, typical"),
        (
            "select --embeddings good.npz --output a.csv --n 3 --labels l.csv --fps-ratio 0.2",
            "none of hybrid, typical",
        ),
        ("visualize --embeddings good.npz --output a.png --show-images --dedupe 1", "is no page"),
        ("visualize --embeddings good.npz --output a.html --dpi 90 --no-axes", "is a page"),
        ("visualize --embeddings good.npz --output a.png --root .", "no --selection"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(desk, capsys, line, needs):
    with pytest.raises(SystemExit) as caught:
        main(line.split())
    assert caught.value.code == 2
    assert re.search(f"would change nothing: .*({needs})", capsys.readouterr().err)


def test_more_than_there_are_are_all(desk, capsys):
    assert main(["select", "--embeddings", "good.npz", "--output", "a.txt", "--n", "100"]) == 0
    assert len(Path("a.txt").read_text().splitlines()) == 20
    assert "warning: " in capsys.readouterr().err


def test_select_proves_how_good_its_picks_are(desk, capsys):
    line = "select --embeddings good.npz --n 5 --exclude picks.txt --output"
    main([*line.split(), "a.txt", "--prove"])
    proof = re.search(
        r"proven within ([\d.]+%) of\s+the least cost that (\d) images can have",
        capsys.readouterr().out,
    )
    main([*line.split(), "b.txt", "--prove", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert proof[1] == f"{found['gap']:.1%}"
    assert int(proof[2]) == 5 + found["n_excluded"]
    main([*line.split(), "c.txt"])
    assert "proven" not in capsys.readouterr().out


def test_rows_without_numbers_are_left_out_and_told(desk, capsys):
    line = "select --embeddings gap.npz --output a.txt --n 19 --exclude picks.txt"
    assert main(line.split()) == 3
    error = capsys.readouterr().err
    assert "1 of the 2 images in 'picks.txt' are not among the embedded ones" in error
    assert "3.jpg: its embedding has no numbers" in error
    names = Path("a.txt").read_text().splitlines()
    assert sorted(names, key=lambda name: int(name[:-4])) == [
        f"{i}.jpg" for i in range(20) if i not in (1, 3)
    ]


def test_dedupe_writes_any_name_that_a_file_can_have(desk):
    names = ["a\rb.jpg", 'c\n"d",.jpg', os.fsdecode(b"\xe9.jpg")]
    save_embeddings("odd.npz", np.eye(3), names, model_name="m")
    assert main(["dedupe", "--embeddings", "odd.npz", "--output", "a.csv"]) == 0
    text = Path("a.csv").read_bytes().decode("utf-8", "surrogateescape")
    assert [row["path"] for row in csv.DictReader(io.StringIO(text, newline=""))] == names


def test_dedupe_tells_what_it_cannot_compare_with(desk, capsys):
    line = "dedupe --embeddings good.npz --output a.csv --against gap.npz"
    assert main(line.split()) == 3
    assert "3.jpg: its embedding has no numbers" in capsys.readouterr().err


@pytest.mark.parametrize(("keep", "kept"), [("first", "20"), ("last", "30"), ("central", "20")])
def test_dedupe_keeps_a_new_one_of_each_group(desk, keep, kept):
    def save(file, degrees):
        angles = np.radians(degrees)
        rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        save_embeddings(file, rows, [f"{angle}.jpg" for angle in degrees], model_name="m")

    save("old.npz", [0])
    # A chain whose first row copies the old one, another copy of it, and a row of its own.
    save("new.npz", [10, 20, 30, 355, 90])
    line = "dedupe --embeddings new.npz --against old.npz --output a.csv --min-similarity 0.98"
    assert main([*line.split(), "--keep", keep]) == 0
    with Path("a.csv").open(newline="") as file:
        lines = {line["path"].removesuffix(".jpg"): line for line in csv.DictReader(file)}
    assert [name for name, line in lines.items() if line["kept"] == "1"] == [kept, "90"]
    assert (lines["10"]["nearest"], lines["355"]["nearest"]) == ("0.jpg", "0.jpg")


def test_row_numbers_are_those_of_the_file(desk):
    assert main(["select", "--embeddings", "gap.npz", "--output", "a.csv", "--n", "19"]) == 3
    picks = load_selection("a.csv")
    assert sorted(picks) == [i for i in range(20) if i != 3]
    ids = load_embeddings("gap.npz").image_ids
    assert load_selection("a.csv", ids).tolist() == picks.tolist()


def test_folders_are_groups(desk):
    rows = np.random.default_rng(0).normal(size=(20, 4))
    names = [f"{'many' if i < 16 else 'few'}/a/{i}.jpg" for i in range(18)]
    names += [f"zip://many/a/{i}.jpg::few.zip" for i in range(2)]
    save_embeddings("folders.npz", rows, names, model_name="m")
    line = "select --embeddings folders.npz --output a.csv --n 6 --group-by folder"
    folders = ["few/a", "many/a", "zip://many/a::few.zip"]
    for balance, due, spare in (("proportional", [0.6, 4.8, 0.6], 1), ("equal", [2, 2, 2], 0)):
        assert main([*line.split(), "--group-balance", balance]) == 0
        picked = read_selection("a.csv").columns["folder"]
        assert max(abs(np.array([picked.count(folder) for folder in folders]) - due)) <= spare


def test_images_that_stand_twice_are_excluded_twice(desk):
    rows = np.random.default_rng(0).normal(size=(10, 4))
    names = [f"{i}.jpg" for i in range(5)] * 2
    save_embeddings("twice.npz", rows, names, model_name="m")
    Path("two.txt").write_text("0.jpg\n1.jpg\n")
    line = "select --embeddings twice.npz --output a.txt --n 6 --exclude two.txt"
    assert main(line.split()) == 0
    assert set(Path("a.txt").read_text().split()) == {"2.jpg", "3.jpg", "4.jpg"}


def test_pictures_never_replace_the_images(desk, capsys, tiny_dinov2):
    Image.new("RGB", (60, 60)).save("folder/a.png")
    before = Path("folder/a.png").read_bytes()
    line = f"patches --images folder --output folder --model {tiny_dinov2}"
    assert main(line.split()) == 1
    assert "is one of the images" in capsys.readouterr().err
    assert Path("folder/a.png").read_bytes() == before


def test_pipelines_of_all_kinds_run(desk, capsys, tiny_dinov2):
    import joblib
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import Pipeline

    for i in range(12):
        noise = np.random.default_rng(i).integers(0, 256, (60, 60, 3), dtype=np.uint8)
        Image.fromarray(noise).save(f"folder/{i}.png")
    paths = sorted(map(str, Path("folder").glob("*.png")))
    embed = DINOv2Transformer(tiny_dinov2, on_error="nan")
    pipe = Pipeline(
        [("inner", Pipeline([("embed", embed)])), ("no", "passthrough"), ("s", DiversitySampler(3))]
    )
    joblib.dump(GridSearchCV(pipe, {"s__strategy": ["fps"]}, cv=2).fit(paths), "search.joblib")
    joblib.dump(embed, "embed.joblib")
    (desk / "folder" / "bad.png").write_text("text")
    assert main(["run", "search.joblib", "--input", "folder", "--output", "to"]) == 3
    assert "folder/bad.png: the pipeline made no numbers" in capsys.readouterr().err
    listed = [*paths, "folder/bad.png"]
    assert len(load_selection("to/selection.csv", sorted(listed))) == 3
    assert main(["run", "embed.joblib", "--input", "folder", "--output", "to"]) == 3
    assert load_embeddings("to/output.npz").image_ids == paths
