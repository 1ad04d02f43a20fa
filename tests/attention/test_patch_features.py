"""Files of patch tokens are whole, are what `inspect` gives, and are made once."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinov2_sklearn import PatchAttentionInspector, load_patch_features
from dinov2_sklearn.images import ImageDecodeError


@pytest.fixture
def photos(image_folder, tmp_path):
    """Images of the test's own, two of the same name."""
    folder = tmp_path / "photos"
    paths = []
    for i, path in enumerate(image_folder):
        paths.append(str(folder / ("a" if i % 2 else "b") / f"photo{i // 2}{Path(path).suffix}"))
        Path(paths[-1]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, paths[-1])
    return paths


def _states(folder):
    return {path.name: (path.stat().st_ino, path.read_bytes()) for path in folder.iterdir()}


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_files_hold_the_tokens_of_inspect(tiny_dinov2, photos, tmp_path, dtype):
    inspector = PatchAttentionInspector(tiny_dinov2, keep_aspect=True, layer=-2)
    files = inspector.save_patch_features(photos, tmp_path / "new" / "features", dtype=dtype)
    assert files.dtype == object
    assert len(set(files)) == len(photos)
    assert sorted((tmp_path / "new" / "features").iterdir()) == sorted(map(Path, files))
    for path, file in zip(photos, files, strict=True):
        features = load_patch_features(file)
        maps = inspector.inspect(path)
        assert features.patch_tokens.dtype == dtype
        tolerance = 1e-5 if dtype == "float32" else 1e-2
        np.testing.assert_allclose(
            features.patch_tokens, maps.patch_tokens, rtol=tolerance, atol=tolerance
        )
        assert (features.image_path, features.layer) == (path, 2)
        assert features.model_name == tiny_dinov2
        with Image.open(path) as image:
            seen = features.preprocessing.to_display(image.convert("RGB"))
        np.testing.assert_array_equal(seen, maps.image)
        with np.load(file) as arrays:
            assert tuple(arrays["grid_shape"]) == maps.grid
    assert repr(features) == f"PatchFeatures(4 x 4 patches of 32 features, image_path={path!r})"


def test_what_is_there_is_kept_and_a_changed_image_is_done_anew(tiny_dinov2, photos, tmp_path):
    folder = tmp_path / "features"
    inspector = PatchAttentionInspector(tiny_dinov2)
    first = inspector.save_patch_features(photos[:4], folder)
    before = _states(folder)
    Image.new("RGB", (60, 60), "red").save(photos[0])
    files = inspector.save_patch_features([*photos, photos[1]], folder)
    after = _states(folder)
    assert list(files[:4]) == list(first)
    assert files[6] == files[1]
    assert len(after) == 6
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {Path(files[0]).name}


def test_killed_and_started_again_it_ends_the_same(tiny_dinov2, photos, tmp_path):
    expected = tmp_path / "expected"
    PatchAttentionInspector(tiny_dinov2, batch_size=1).save_patch_features(photos, expected)
    folder = tmp_path / "features"
    code = (
        "from dinov2_sklearn import PatchAttentionInspector\n"
        f"PatchAttentionInspector({tiny_dinov2!r}, batch_size=1)"
        f".save_patch_features({photos!r}, {str(folder)!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    while process.poll() is None and not list(folder.glob("*.npz")):
        time.sleep(0.001)
    process.kill()
    process.wait()
    for file in folder.glob("*.npz"):
        assert file.read_bytes() == (expected / file.name).read_bytes()
    PatchAttentionInspector(tiny_dinov2, batch_size=1).save_patch_features(photos, folder)
    for file in expected.iterdir():
        assert (folder / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": 0}, "layer 3, now 0"),
        ({"image_size": 28}, "preprocessing .*56.*now .*28"),
        ({"dtype": "bfloat16"}, "precision 'float32', now 'bfloat16'"),
    ],
)
def test_other_settings_are_refused(tiny_dinov2, photos, tmp_path, change, message):
    inspector = PatchAttentionInspector(tiny_dinov2)
    inspector.save_patch_features(photos, tmp_path / "features")
    before = _states(tmp_path / "features")
    with pytest.raises(ValueError, match=f"other settings .*{message}.*Use another folder"):
        inspector.set_params(**change).save_patch_features(photos, tmp_path / "features")
    assert _states(tmp_path / "features") == before


def test_other_weights_under_the_same_name_are_refused(
    tiny_dinov2, tiny_registers, photos, tmp_path
):
    shutil.copytree(tiny_dinov2, tmp_path / "model")
    inspector = PatchAttentionInspector(str(tmp_path / "model"))
    inspector.save_patch_features(photos, tmp_path / "features")
    shutil.rmtree(tmp_path / "model")
    shutil.copytree(tiny_registers, tmp_path / "model")
    with pytest.raises(ValueError, match=r"other settings .*model \["):
        inspector.save_patch_features(photos, tmp_path / "features")


def test_files_of_0_1_0_are_made_again_and_those_of_other_settings_refused(
    tiny_dinov2, photos, tmp_path
):
    (file,) = PatchAttentionInspector(tiny_dinov2).save_patch_features(photos[:1], tmp_path)
    expected = Path(file).read_bytes()
    with np.load(file) as arrays:
        parts = dict(arrays)
    metadata = json.loads(str(parts["metadata"]))
    del metadata["settings"]["model"]
    metadata["settings"]["model_digest"] = "0" * 40  # as that version told models
    np.savez(file, **{**parts, "metadata": np.array(json.dumps(metadata))})
    assert load_patch_features(file).image_path == photos[0]
    with pytest.raises(ValueError, match="layer 3, now 0"):
        PatchAttentionInspector(tiny_dinov2, layer=0).save_patch_features(photos[:1], tmp_path)
    PatchAttentionInspector(tiny_dinov2).save_patch_features(photos[:1], tmp_path)
    assert Path(file).read_bytes() == expected


def test_unreadable_images(tiny_dinov2, photos, tmp_path):
    folder = tmp_path / "features"
    Path(photos[3]).write_text("this is text")
    Path(photos[5]).unlink()
    inspector = PatchAttentionInspector(tiny_dinov2, batch_size=2)
    with pytest.raises(ImageDecodeError, match=r"photo1\.png.*not an image"):
        inspector.save_patch_features(photos, folder)
    assert len(list(folder.iterdir())) == 3  # those before it are done
    with pytest.warns(UserWarning, match="2 of 6 images could not be decoded") as caught:
        files = inspector.save_patch_features(photos, folder, on_error="skip")
    assert caught[0].filename == __file__
    assert "photo1.png': not an image" in str(caught[0].message)
    assert "photo2.png': no such file" in str(caught[0].message)
    assert [file is None for file in files] == [False, False, False, True, False, True]
    assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut short", None])
def test_damaged_and_foreign_files(tiny_dinov2, photos, tmp_path, content):
    inspector = PatchAttentionInspector(tiny_dinov2)
    (file,) = inspector.save_patch_features(photos[:1], tmp_path / "features")
    if content is None:
        np.savez(file, other=np.zeros(3))
    else:
        Path(file).write_bytes(content)
    for read in (
        lambda: load_patch_features(file),
        lambda: inspector.save_patch_features(photos, tmp_path / "features"),
    ):
        with pytest.raises(ValueError, match=r"photo0-.*npz' is damaged, or no file of patch"):
            read()


def test_what_cannot_be_saved(tiny_dinov2, image_folder, tmp_path):
    inspector = PatchAttentionInspector(tiny_dinov2)
    with pytest.raises(TypeError, match="takes paths"):
        inspector.save_patch_features([Image.new("RGB", (9, 9))], tmp_path / "features")
    with pytest.raises(ValueError, match="dtype must be one of.*got 'int8'"):
        inspector.save_patch_features(image_folder, tmp_path / "features", dtype="int8")
    with pytest.raises(ValueError, match="on_error must be one of.*got 'nan'"):
        inspector.save_patch_features(image_folder, tmp_path / "features", on_error="nan")
    with pytest.raises(FileNotFoundError, match="There is no file"):
        load_patch_features(tmp_path / "nothing.npz")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("here")
    with pytest.raises(NotADirectoryError, match="file' is a file. Name a folder"):
        inspector.save_patch_features(image_folder, tmp_path / "file")


def test_tokens_that_float16_cannot_hold():
    from dinov2_sklearn.attention._features import _narrowed

    tokens = np.full((1, 1, 2), 1e5, dtype=np.float32)
    with pytest.raises(ValueError, match=r"'a\.jpg' reach 100000, which float16 cannot hold"):
        _narrowed(tokens, "float16", "a.jpg")
    np.testing.assert_array_equal(_narrowed(tokens, "float32", "a.jpg"), tokens)


def test_strange_names(tiny_dinov2, image_folder, tmp_path):
    names = ["über $x\n.png", "a" * 240 + ".png", b"caf\xe9.png".decode("utf-8", "surrogateescape")]
    paths = [str(tmp_path / name) for name in names]
    for path in paths:
        shutil.copy(image_folder[1], path)
    inspector = PatchAttentionInspector(tiny_dinov2)
    files = inspector.save_patch_features(paths, tmp_path / "features")
    assert [load_patch_features(file).image_path for file in files] == paths
