"""Images at a URL, read through fsspec, are the images that a path would give."""

import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import fsspec
import numpy as np
import pytest

from dinov2_sklearn import (
    DINOv2Transformer,
    PatchAttentionInspector,
    ProjectionDisplay,
    list_images,
    load_patch_features,
    load_selection,
)
from dinov2_sklearn.cli import main
from dinov2_sklearn.images import ImageDecodeError, find_rows, load_image
from dinov2_sklearn.images.sources._walking import _find
from dinov2_sklearn.selection import copy_images, write_selection


@pytest.fixture
def bucket(image_folder):
    """URL of a folder in memory that holds the images, one of them deeper down, and other files."""
    files = fsspec.filesystem("memory")
    for i, path in enumerate(image_folder):
        files.pipe(f"/bucket/{'deep/' if i == 5 else ''}{Path(path).name}", Path(path).read_bytes())
    files.pipe("/bucket/.hidden/a.png", b"")
    files.pipe("/bucket/notes.md", b"")
    yield "memory://bucket"
    files.rm("/bucket", recursive=True)


@pytest.fixture
def archive(image_folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as file:
        for path in image_folder:
            file.write(path, f"cam1/{Path(path).name}")
    return tmp_path / "photos.zip"


def names(paths):
    return [Path(path.partition("::")[0]).name for path in paths]


def test_a_folder_on_the_web_is_a_folder_although_it_can_be_read_like_a_file():
    class Web:
        isfile = isdir = staticmethod(lambda name: True)
        find = staticmethod(lambda name, maxdepth: [f"{name}a.jpg"])

    folder = "http://host/photos/"
    assert _find(Web, folder, True) == ([f"{folder}a.jpg"], folder)
    assert _find(Web, f"{folder}a.jpg", True) == ([f"{folder}a.jpg"], f"{folder}a.jpg")


def test_a_folder_is_listed_as_one_on_disk(bucket, image_folder):
    listed = list_images(bucket)
    assert sorted(names(listed)) == sorted(names(image_folder))
    assert all(path.startswith("memory://") for path in listed)
    assert list(listed) == sorted(listed)
    assert len(list_images(bucket, recursive=False)) == 5
    shallow = [path for path in listed if path.endswith(".png") and "deep" not in path]
    assert list(list_images(f"{bucket}/*.png")) == shallow
    assert list(list_images(listed[0])) == [listed[0]]


def test_embeddings_are_those_of_the_files(bucket, image_folder, tiny_dinov2, tmp_path):
    embed = DINOv2Transformer(tiny_dinov2, embedding_cache=tmp_path / "cache")
    by_name = dict(zip(names(image_folder), embed.transform(image_folder), strict=True))
    listed = list_images(bucket)
    expected = np.stack([by_name[name] for name in names(listed)])
    np.testing.assert_array_equal(embed.transform(listed), expected)


def test_an_image_that_changes_at_its_url_is_embedded_anew(bucket, tiny_dinov2, tmp_path):
    embed = DINOv2Transformer(tiny_dinov2, embedding_cache=tmp_path / "cache")
    first, second = list_images(bucket)[:2]
    before = embed.transform([first, second])
    files = fsspec.filesystem("memory")
    files.pipe(first.removeprefix("memory:/"), files.cat(second.removeprefix("memory:/")))
    np.testing.assert_array_equal(embed.transform([first]), before[1:])


def test_images_in_an_archive(archive, image_folder):
    listed = list_images(f"zip://::{archive}")
    assert sorted(names(listed)) == sorted(names(image_folder))
    by_name = {Path(path).name: path for path in image_folder}
    for url, name in zip(listed, names(listed), strict=True):
        assert load_image(url).tobytes() == load_image(by_name[name]).tobytes()


def test_tables_at_and_of_urls(bucket, tmp_path):
    listed = list_images(bucket)
    files = fsspec.filesystem("memory")
    files.pipe("/bucket/list.csv", b"image_path\n" + Path(listed[1]).name.encode() + b"\n")
    assert list(list_images(f"{bucket}/list.csv")) == [f"{bucket}/{Path(listed[1]).name}"]
    table = tmp_path / "urls.txt"
    table.write_text("\n".join(listed[::-1]))
    assert list(list_images(table)) == list(listed[::-1])
    assert list(list_images(list(listed))) == list(listed)


def test_a_missing_image_is_named(bucket):
    with pytest.raises(ImageDecodeError, match="'memory://bucket/none.jpg': no such file"):
        load_image("memory://bucket/none.jpg")


def test_an_empty_place_and_an_unknown_scheme(bucket):
    with pytest.raises(FileNotFoundError, match="no file, folder or glob match at 'memory://buck"):
        list_images("memory://bucket/none")
    with pytest.raises(ValueError, match=r"No images in 'memory://bucket'.*1 \.md"):
        list_images("memory://bucket", pattern="*.bmp")
    with pytest.raises(OSError, match="'nothing://a' cannot be read .*nothing"):
        list_images("nothing://a")


def test_an_image_of_a_moved_archive_is_found_by_its_own_name():
    moved = [f"tar://{name}.jpg::new/shard.tar" for name in ("a", "sub/b")]
    with pytest.warns(UserWarning, match="1 of the 1 images in picks are not where they were"):
        assert find_rows(["tar://b.jpg::shard.tar"], moved, moved_in="picks") == [[1]]
    assert find_rows(["tar://c.jpg::shard.tar"], moved[:1], moved_in="picks") == [[]]


def test_what_is_no_archive_is_told_for_each_image(tmp_path, image_folder, archive, tiny_dinov2):
    (tmp_path / "text.zip").write_text("text")
    bad = f"zip://a.png::{tmp_path / 'text.zip'}"
    embed = DINOv2Transformer(tiny_dinov2, on_error="nan", embedding_cache=tmp_path / "cache")
    with pytest.warns(UserWarning, match="Cannot decode 'zip://a.png::.*not a zip file"):
        rows = embed.transform([image_folder[0], bad])
    assert np.isfinite(rows[0]).all()
    assert np.isnan(rows[1]).all()
    with pytest.raises(OSError, match="cannot be read .*not a zip file"):
        list_images(f"zip://::{tmp_path / 'text.zip'}")
    with pytest.raises(OSError, match="'zip://none.png::.*' cannot be copied: .*none.png"):
        copy_images([f"zip://none.png::{archive}"], tmp_path / "copies")


def test_patterns_and_tables_reach_into_archives(archive, image_folder, tmp_path):
    url = f"zip://::{archive}"
    pngs = [path for path in image_folder if path.endswith(".png")]
    assert len(list_images(url, pattern="*.png")) == len(pngs)
    assert len(list_images(url, pattern="cam1/*")) == len(image_folder)
    assert len(list_images(f"zip://cam1/*.png::{archive}")) == len(pngs)
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("cam1/list.txt", Path(pngs[0]).name)
    assert list(list_images(f"zip://cam1/list.txt::{archive}")) == [
        f"zip://cam1/{Path(pngs[0]).name}::{archive}"
    ]


def test_archives_as_tar_makes_them(image_folder, tmp_path):
    with tarfile.open(tmp_path / "photos.tar", "w") as file:
        for path in image_folder:
            file.add(path, f"./{Path(path).name}")
    listed = list_images(f"tar://::{tmp_path / 'photos.tar'}")
    assert sorted(names(listed)) == sorted(names(image_folder))
    assert load_image(listed[0]).size


def test_hidden_counts_below_the_root(image_folder, tmp_path):
    hidden = tmp_path / ".hidden"
    (hidden / ".more").mkdir(parents=True)
    for folder in (hidden, hidden / ".more"):
        (folder / "a.png").write_bytes(Path(image_folder[0]).read_bytes())
    assert len(list_images(f"file://{hidden}")) == len(list_images(hidden)) == 1
    assert len(list_images(f"file://{hidden}/?.png")) == 1


def test_a_name_that_no_url_can_hold_is_not_passed_over(tmp_path):
    (tmp_path / "a::b.png").touch()
    with pytest.raises(ValueError, match="a::b.png.*Rename it"):
        list_images(f"file://{tmp_path}")


def test_tokens_follow_the_image_at_the_url(bucket, tiny_dinov2, tmp_path):
    inspector = PatchAttentionInspector(tiny_dinov2)
    first, second = list_images(bucket)[:2]
    (before,) = inspector.save_patch_features([first], tmp_path / "tokens")
    old = load_patch_features(before).patch_tokens
    assert Path(before).name.startswith(Path(first).stem)
    files = fsspec.filesystem("memory")
    files.pipe(first.removeprefix("memory:/"), files.cat(second.removeprefix("memory:/")))
    assert inspector.save_patch_features([first], tmp_path / "tokens") == [before]
    assert not np.array_equal(load_patch_features(before).patch_tokens, old)


def test_selections_keep_urls_or_refuse_them(archive, tmp_path):
    listed = list_images(f"zip://::{archive}")
    write_selection(tmp_path / "a.json", listed, [2, 0], format="coco", root=tmp_path)
    assert load_selection(tmp_path / "a.json", listed).tolist() == [2, 0]
    with pytest.raises(ValueError, match="https and s3 URLs, but not 'zip://.*copy"):
        write_selection(tmp_path / "b.json", listed, [0], format="label-studio", root=tmp_path)


def test_a_page_links_only_what_a_browser_opens(archive, tmp_path):
    listed = list_images(f"zip://::{archive}")
    display = ProjectionDisplay(np.eye(6, 2), names=listed)
    with pytest.raises(ValueError, match="A browser cannot open 'zip://.*sprites"):
        display.write_html(tmp_path / "map.html", thumbnails="files")


@pytest.mark.skipif(find_spec("s3fs") is not None, reason="s3fs is installed")
def test_a_part_of_fsspec_that_is_missing_is_named():
    with pytest.raises(ImportError, match="'s3://bucket/' needs a package .*s3fs"):
        list_images("s3://bucket/")


def test_copies_are_fetched(archive, tmp_path):
    listed = list_images(f"zip://::{archive}")
    copies = copy_images(listed, tmp_path / "picks")
    assert names(copies) == names(listed)
    assert copy_images(listed, tmp_path / "picks") == copies
    for url, copy in zip(listed, copies, strict=True):
        assert load_image(copy).tobytes() == load_image(url).tobytes()
    with pytest.raises(ValueError, match="No link can lead to the URL"):
        copy_images(listed, tmp_path / "links", mode="symlink")


def test_the_command_line_from_an_archive_to_a_selection(
    archive, tiny_dinov2, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        assert main([*map(str, arguments)]) == 0

    run("extract", "--input", f"zip://::{archive}", "--output", "a.pt", "--model", tiny_dinov2)
    run("select", "--embeddings", "a.pt", "--output", "picks.json", "--n", 2, "--format", "coco")
    run("select", "--embeddings", "a.pt", "--output", "two.csv", "--n", 2, "--copy-to", "copies")
    assert len(list((tmp_path / "copies").iterdir())) == 2
    more = ("--exclude", "two.csv")
    run("select", "--embeddings", "a.pt", "--output", "more.txt", "--n", 4, *more)
    both = (tmp_path / "two.csv").read_text() + (tmp_path / "more.txt").read_text()
    assert all(url in both for url in list_images(f"zip://::{archive}"))
    run("visualize", "--embeddings", "a.pt", "--output", "map.html", "--show-images")
