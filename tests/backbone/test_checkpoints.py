"""Names to folders, and what a user reads when there is none."""

import json
import shutil
from pathlib import Path

import pytest

from dinov2_sklearn.backbone import (
    DINOV2_MODELS,
    OTHER_MODELS,
    CheckpointError,
    find_checkpoint,
)


def test_folder_says_what_it_holds(tiny_dinov2, tiny_registers):
    plain, registers = find_checkpoint(tiny_dinov2), find_checkpoint(tiny_registers)
    assert (plain.dim, plain.depth, plain.n_heads, plain.patch_size) == (32, 4, 2, 14)
    assert (plain.n_registers, registers.n_registers) == (0, 2)
    assert plain.preprocessing.resize == 64
    assert plain.preprocessing.crop == (56, 56)


def test_default_number_of_registers_is_transformers_own(tmp_path):
    from transformers import Dinov2WithRegistersConfig

    config = Dinov2WithRegistersConfig()
    config.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").touch()
    assert find_checkpoint(str(tmp_path)).n_registers == config.num_register_tokens


def test_folder_without_preprocessor_config_gets_the_published_recipe(tiny_dinov2, tmp_path):
    folder = shutil.copytree(tiny_dinov2, tmp_path / "copy")
    (folder / "preprocessor_config.json").unlink()
    preprocessing = find_checkpoint(str(folder)).preprocessing
    assert (preprocessing.resize, preprocessing.crop) == (256, (224, 224))


@pytest.mark.parametrize(("layer", "index"), [(0, 0), (3, 3), (-1, 3), (-4, 0)])
def test_block_index(tiny_dinov2, layer, index):
    assert find_checkpoint(tiny_dinov2).block_index(layer) == index


@pytest.mark.parametrize("layer", [4, 99, -5])
def test_block_out_of_range(tiny_dinov2, layer):
    with pytest.raises(ValueError, match=rf"layer={layer} is out of range.*has 4 blocks"):
        find_checkpoint(tiny_dinov2).block_index(layer)


def test_short_names_are_the_published_models():
    assert set(DINOV2_MODELS) == {
        size + suffix
        for size in ("small", "base", "large", "giant")
        for suffix in ("", "-with-registers")
    }
    # Table 10 and the model cards of the DINOv2 repository.
    assert [DINOV2_MODELS[name].dim for name in ("small", "base", "large", "giant")] == [
        384,
        768,
        1024,
        1536,
    ]


def test_misspelt_short_name_is_corrected():
    with pytest.raises(CheckpointError, match="Did you mean 'base'"):
        find_checkpoint("bsae")


@pytest.mark.parametrize("name", ["./models/dino", "/no/such/folder", "~/no-such-models/dino"])
def test_missing_folder_is_not_taken_for_a_hub_name(name):
    with pytest.raises(CheckpointError, match="looks like a folder, and there is none at /"):
        find_checkpoint(name)


def test_file_instead_of_folder(tiny_dinov2):
    with pytest.raises(CheckpointError, match="is a file. Give the folder"):
        find_checkpoint(str(Path(tiny_dinov2) / "config.json"))


def test_folder_without_weights(tiny_dinov2, tmp_path):
    shutil.copy(Path(tiny_dinov2) / "config.json", tmp_path)
    with pytest.raises(CheckpointError, match=r"lacks model.safetensors; it holds config.json"):
        find_checkpoint(str(tmp_path))


def test_empty_folder(tmp_path):
    with pytest.raises(CheckpointError, match=r"lacks config.json and .*it holds nothing"):
        find_checkpoint(str(tmp_path))


def test_pickled_weights_are_refused_with_the_way_out(tiny_dinov2, tmp_path):
    shutil.copy(Path(tiny_dinov2) / "config.json", tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(CheckpointError, match=r"can run code: save them again"):
        find_checkpoint(str(tmp_path))


def test_checkpoint_of_another_kind(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"of type 'bert', which is no known Vision Trans"):
        find_checkpoint(str(tmp_path))


def test_code_of_a_checkpoint_is_never_run(tmp_path):
    (tmp_path / "model.py").write_text("raise SystemExit('run')")
    config = {"model_type": "mine", "auto_map": {"AutoModel": "model.Mine"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"auto_map\), which is never run"):
        find_checkpoint(str(tmp_path))


def test_heads_that_the_width_cannot_have(tiny_dinov2, tmp_path):
    folder = shutil.copytree(tiny_dinov2, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_attention_heads": 5}))
    with pytest.raises(CheckpointError, match="hidden_size=32 is no multiple of num_attention_he"):
        find_checkpoint(str(folder))


def test_a_timm_model_without_timm(tiny_dinov2, tmp_path, monkeypatch):
    monkeypatch.setattr("dinov2_sklearn.backbone._checkpoints.find_spec", lambda name: None)
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "vit_tiny_patch16_224"}))
    (tmp_path / "model.safetensors").touch()
    for name in ("timm/vit_small_patch16_dinov3.lvd1689m", str(tmp_path)):
        with pytest.raises(
            CheckpointError, match=r"not installed.*pip install dinov2-sklearn.timm"
        ):
            find_checkpoint(name)


def test_other_models_than_dinov2_must_say_how_images_are_prepared(tmp_path):
    from transformers import ViTConfig

    ViTConfig().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(CheckpointError, match="has no preprocessor_config.json, which says how"):
        _ = find_checkpoint(str(tmp_path)).preprocessing


def test_a_vision_tower_that_leaves_out_what_is_transformers_default(tmp_path):
    from transformers import SiglipVisionConfig

    config = {"model_type": "siglip", "vision_config": {"model_type": "siglip_vision_model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").touch()
    default, found = SiglipVisionConfig(), find_checkpoint(str(tmp_path))
    assert (found.dim, found.depth) == (default.hidden_size, default.num_hidden_layers)
    assert (found.n_heads, found.patch_size) == (default.num_attention_heads, default.patch_size)


def test_known_models_say_what_a_user_must_know():
    names = [model.hub_name for model in OTHER_MODELS]
    assert len(set(names)) == len(names)
    for model in (*DINOV2_MODELS.values(), *OTHER_MODELS):
        assert model.gated == model.hub_name.startswith("facebook/dinov3")
        assert 20e6 < model.n_parameters < 1.2e9


@pytest.mark.parametrize("content", ["{", "[]"])
def test_damaged_config(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"config\.json"):
        find_checkpoint(str(tmp_path))


@pytest.fixture
def closed_hub(monkeypatch, tmp_path):
    """An empty hub cache, and a hub address at which nothing listens."""
    import huggingface_hub.constants

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", "http://127.0.0.1:9")
    return huggingface_hub.constants.HF_HUB_CACHE


@pytest.mark.parametrize("name", ["base", "someone/dinov2-finetuned"])
def test_without_network_the_ways_out_are_named(closed_hub, name):
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(name)
    message = str(caught.value)
    hub_id = DINOV2_MODELS[name].hub_name if name in DINOV2_MODELS else name
    for words in (hub_id, "could not be reached", "connect", "folder", "'offline'"):
        assert words in message


def _fill_hub_cache(cache, hub_id, folder):
    """Lay out a snapshot as huggingface_hub does."""
    repo = Path(cache) / f"models--{hub_id.replace('/', '--')}"
    shutil.copytree(folder, repo / "snapshots" / ("0" * 40))
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("0" * 40)


def test_what_is_in_the_hub_cache_needs_no_network(closed_hub, tiny_dinov2):
    _fill_hub_cache(closed_hub, "facebook/dinov2-base", tiny_dinov2)
    assert find_checkpoint("base").dim == 32


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("RepositoryNotFoundError", "no checkpoint 'me/typo', or it is private"),
        ("RevisionNotFoundError", "no revision 'v9'"),
        ("GatedRepoError", r"accepted: do so on https://huggingface.co/me/typo, .*HF_TOKEN"),
    ],
)
def test_what_the_hub_answers_is_put_into_words(closed_hub, monkeypatch, error, words):
    import huggingface_hub.errors

    kind = getattr(huggingface_hub.errors, error)

    def answer(*args, **kwargs):
        raise kind.__new__(kind)

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", answer)
    with pytest.raises(CheckpointError, match=words) as caught:
        find_checkpoint("me/typo", revision="v9")
    # Nothing of the hub's own is shown above the message.
    assert caught.value.__suppress_context__
    assert len(str(caught.value)) < 400
