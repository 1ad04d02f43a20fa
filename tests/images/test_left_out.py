"""What a folder's listing leaves out, and what tables spell otherwise than the disk."""

import os
import subprocess
import sys
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pytest

from dinov2_sklearn.images import list_images


def make(folder, *names):
    for name in names:
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(paths, folder):
    return [Path(path).relative_to(folder).as_posix() for path in paths]


def test_files_that_are_no_images_are_counted_once_by_extension(tmp_path):
    make(tmp_path, "a.jpg", "b.xyz", "d/c.xyz", "d/e.mp4", "notes.txt", "Thumbs.db", ".hidden.xyz")
    with pytest.warns(UserWarning, match=r"4 files in the folder") as caught:
        assert len(list_images(tmp_path)) == 1
    (warning,) = caught
    assert "2 .xyz, 1 .mp4, 1 .txt" in str(warning.message)
    assert warning.filename == __file__


def test_tables_and_texts_beside_images_go_without_saying(tmp_path):
    make(tmp_path, "a.jpg", "a.txt", "labels.csv", "labels.json", "a.xml", "Thumbs.db")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list_images(tmp_path)) == 1


@pytest.mark.parametrize(
    "folder",
    ["@eaDir", "#recycle", "$RECYCLE.BIN", "$Recycle.Bin", "lost+found", "__MACOSX", "d/@eaDir"],
)
def test_folders_of_systems_are_skipped(tmp_path, folder):
    make(tmp_path, "a.jpg", f"{folder}/b.jpg", f"{folder}/c/d.jpg", f"{folder}/e.xyz")
    assert names(list_images(tmp_path), tmp_path) == ["a.jpg"]
    assert names(list_images(f"{tmp_path}/**/*.jpg"), tmp_path) == ["a.jpg"]
    assert len(list_images(f"file://{tmp_path}")) == 1


@pytest.mark.parametrize(
    ("exclude", "kept"),
    [
        ("*_thumb*", ["a.jpg", "old/c.png", "old/deep/d.jpg"]),
        (["OLD"], ["a.jpg", "b_thumb.jpg"]),
        (["old/*"], ["a.jpg", "b_thumb.jpg"]),
        (["*.png", "b*"], ["a.jpg", "old/deep/d.jpg"]),
        ("deep", ["a.jpg", "b_thumb.jpg", "old/c.png"]),
    ],
)
def test_patterns_exclude_files_and_folders(tmp_path, exclude, kept):
    make(tmp_path, "a.jpg", "b_thumb.jpg", "old/c.png", "old/deep/d.jpg")
    assert names(list_images(tmp_path, exclude=exclude), tmp_path) == kept
    with pytest.raises(ValueError, match="exclude=.* applies to folders"):
        list_images([str(tmp_path / "a.jpg")], exclude=exclude)


@pytest.mark.skipif(os.name == "nt", reason="needs rights as POSIX has them")
def test_a_folder_that_cannot_be_read_is_a_warning(tmp_path):
    make(tmp_path, "a.jpg", "closed/b.jpg")
    tmp_path.chmod(0o755)
    (tmp_path / "closed").chmod(0)
    code = (
        "import os, sys, warnings\n"
        "from dinov2_sklearn.images.sources._walking import walk\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "os.chdir(sys.argv[1]); unreadable = []\n"
        "print(list(walk('.', True, unreadable)), unreadable)\n"
    )
    for parent in tmp_path.parents[:3]:  # with pytest-xdist there is one folder more
        parent.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    (tmp_path / "closed").chmod(0o755)
    assert done.stdout.strip() == "['./a.jpg'] ['./closed']", done.stderr


def table(folder, text, encoding):
    (folder / "t.csv").write_bytes(text.encode(encoding))
    return folder / "t.csv"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be"]
)
def test_tables_in_any_usual_encoding(tmp_path, encoding):
    make(tmp_path, "größe.jpg", "b.jpg")
    text = "Bild größe;kind\r\ngröße.jpg;x\r\nb.jpg;é\r\n"
    found = list_images(table(tmp_path, text, encoding), image_col="Bild größe")
    assert names(found, tmp_path) == ["größe.jpg", "b.jpg"]


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
def test_composed_and_decomposed_names_are_one(tmp_path, on_disk):
    name = unicodedata.normalize(on_disk, "café.jpg")
    make(tmp_path, name)
    for form in ("NFC", "NFD"):
        listed = unicodedata.normalize(form, "café.jpg")
        text = f"image_path\n{listed}\n"
        (found,) = list_images(table(tmp_path, text, "utf-8"))
        assert os.listdir(tmp_path).count(Path(found).name) == 1  # noqa: PTH208
        (found,) = list_images([str(tmp_path / listed)])
        assert Path(found).exists()


@pytest.mark.skipif(os.name == "nt", reason="a backslash is a slash there")
def test_backslashes_of_windows_and_long_fields(tmp_path):
    make(tmp_path, "images/cat/a.jpg")
    text = "image_path,outline\nimages\\cat\\a.jpg," + "1 " * 100_000 + "\n"
    assert names(list_images(table(tmp_path, text, "utf-8")), tmp_path) == ["images/cat/a.jpg"]


def test_missing_files_can_stay_listed(tmp_path):
    make(tmp_path, "a.jpg")
    path = table(tmp_path, "image_path\na.jpg\ngone.jpg\n", "utf-8")
    with pytest.raises(FileNotFoundError, match="1 of the 2 files"):
        list_images(path)
    assert names(list_images(path, missing="keep"), tmp_path) == ["a.jpg", "gone.jpg"]
    listed = np.array([str(tmp_path / "a.jpg"), str(tmp_path / "gone.jpg")])
    assert list(list_images(listed, missing="keep")) == listed.tolist()
    with pytest.raises(ValueError, match="'raise' or 'keep'"):
        list_images(path, missing="skip")
