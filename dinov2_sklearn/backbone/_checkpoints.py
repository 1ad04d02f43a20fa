"""Where a checkpoint's files are: short names, hub ids, local folders and ``"offline"``.

Everything ends as a local folder, so that weights, configuration and preprocessing are read in
one way wherever they came from.
"""

import difflib
import json
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from ..images import ImageRef, Preprocessing
from ._models import DINOV2_MODELS, CheckpointError, Layout
from ._offline import offline_checkpoint
from ._original import converted_checkpoint

__all__ = ["Checkpoint", "find_checkpoint"]

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_HUB_FILES = [
    "config.json",
    "preprocessor_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
]
# What the configurations of some model types leave out, being the default of transformers.
_OF_A_TOWER = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
_FAMILIES: dict[str, dict[str, int]] = {
    "dinov2": {},
    "dinov2_with_registers": {"num_register_tokens": 4},
    "dinov3_vit": {"num_register_tokens": 4},
    "dinov3_convnext": {},
    "vit": {},
    "vit_mae": {},
    "ijepa": {},
    "clip": {**_OF_A_TOWER, "patch_size": 32},
    "siglip": {**_OF_A_TOWER, "patch_size": 16},
    "siglip2": {**_OF_A_TOWER, "patch_size": 16},
}
_NEEDED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "patch_size")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's folder and what its small files say; the weights are not read."""

    name: str  # what the user called it
    folder: Path
    stamp: tuple = ()  # changes whenever one of its files does

    @cached_property
    def config(self) -> dict[str, Any]:
        """The content of ``config.json``."""
        return _read_json(self, "config.json")

    @property
    def family(self) -> str:
        """The model type, or ``"timm"``; of CLIP and SigLIP the one of the vision tower."""
        if "architecture" in self.config:
            return "timm"
        return str(self.config.get("model_type")).removesuffix("_vision_model")

    @property
    def said(self) -> dict[str, Any]:
        """What the configuration says of the vision tower, and what its family leaves unsaid."""
        return {**_FAMILIES[self.family], **self.config.get("vision_config", self.config)}

    @cached_property
    def layout(self) -> Layout:
        """The shape of the tokens and the blocks."""
        if self.family == "timm":
            from ._timm import read_layout

            return read_layout(self.name, self.folder)
        said = self.said
        if self.family == "dinov3_convnext":  # one block, and patches as large as its last pixels
            return Layout(said["hidden_sizes"][-1], 1, 0, 4 * 2 ** (len(said["hidden_sizes"]) - 1))
        cls: Literal["token", "head", "none"] = "none" if self.family == "ijepa" else "token"
        if self.family in ("siglip", "siglip2"):
            cls = "head" if said.get("vision_use_head", True) else "none"
        dim, depth, n_heads, patch_size = (said[name] for name in _NEEDED)
        return Layout(dim, depth, n_heads, patch_size, said.get("num_register_tokens", 0), cls)

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """How the checkpoint wants its images; DINOv2's published recipe if it is one of these."""
        if self.family == "timm":
            from ._timm import read_preprocessing

            return read_preprocessing(self.config)
        if (self.folder / "preprocessor_config.json").is_file():
            config = _read_json(self, "preprocessor_config.json")
            if "max_num_patches" in config and not config.get("size"):  # of any shape: a square
                edge = int(config["max_num_patches"] ** 0.5) * self.patch_size
                config = {"resample": 2, **config, "size": {"height": edge, "width": edge}}
            return Preprocessing.from_config(config)
        if self.family.startswith("dinov2"):
            return Preprocessing()
        raise CheckpointError(
            f"{self.folder} has no preprocessor_config.json, which says how the images of a "
            f"{self.family} model are prepared. Copy it from where the weights come from."
        )

    @property
    def dim(self) -> int:
        """Length of a token."""
        return self.layout.dim

    @property
    def depth(self) -> int:
        """Number of transformer blocks."""
        return self.layout.depth

    @property
    def n_heads(self) -> int:
        """Attention heads in each block; 0 where there is no attention."""
        return self.layout.n_heads

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self.layout.patch_size

    @property
    def n_registers(self) -> int:
        """Register tokens between the CLS token and the patch tokens."""
        return self.layout.n_registers

    @property
    def n_prefix(self) -> int:
        """Tokens before the patch tokens."""
        return self.layout.n_registers + (self.layout.cls == "token")

    @property
    def files(self) -> list[str]:
        """The files that the model is made from: its weights and its configuration."""
        return [
            *map(str, sorted(self.folder.glob("*.safetensors"))),
            str(self.folder / "config.json"),
        ]

    @cached_property
    def digests(self) -> list[str | None]:
        """What tells the model from others, whatever it is called: the digest of each file."""
        return [(ImageRef(file).digest() or b"").hex() or None for file in self.files]

    def block_index(self, layer: int, parameter: str = "layer") -> int:
        """Turn a block number, negative from the end, into an index in ``range(depth)``."""
        if not -self.depth <= layer < self.depth:
            raise ValueError(
                f"{parameter}={layer} is out of range: {self.name!r} has {self.depth} blocks, "
                f"numbered 0 to {self.depth - 1}, or -1 (the last) to -{self.depth}."
            )
        return layer % self.depth


def find_checkpoint(model_name: str, revision: str | None = None) -> Checkpoint:
    """Find a checkpoint's files, downloading them from the hub if need be.

    Parameters
    ----------
    model_name : str
        A short name of :data:`DINOV2_MODELS`, a hub id (``"owner/name"``), a local folder, a
        ``.pth`` file of the DINOv2 repository, or ``"offline"``.
    revision : str, optional
        Branch, tag or commit of a hub checkpoint. What is in the local hub cache is used without
        asking the hub again.

    Returns
    -------
    Checkpoint
        The files, ready to be read.

    Raises
    ------
    CheckpointError
        If there is no such checkpoint, it cannot be reached, or files are missing in it.
    """
    if model_name == "offline":
        return _checked(model_name, offline_checkpoint())
    if model_name in DINOV2_MODELS:
        return _from_hub(model_name, DINOV2_MODELS[model_name].hub_name, revision)
    folder = Path(model_name).expanduser()
    if folder.is_dir():
        return _checked(model_name, folder.resolve())
    if folder.is_file():
        if folder.suffix in (".pth", ".pt"):
            return _checked(model_name, converted_checkpoint(folder.resolve()))
        raise CheckpointError(
            f"model_name={model_name!r} is a file. Give the folder that holds config.json and "
            "model.safetensors, or a .pth file of the DINOv2 repository."
        )
    if _HUB_ID.fullmatch(model_name) and not model_name.startswith("."):
        return _from_hub(model_name, model_name, revision)
    raise CheckpointError(_unknown_name_message(model_name))


def _unknown_name_message(model_name: str) -> str:
    if "/" in model_name or "\\" in model_name or model_name.startswith((".", "~")):
        return (
            f"model_name={model_name!r} looks like a folder, and there is none at "
            f"{Path(model_name).expanduser().absolute()}."
        )
    names = [*DINOV2_MODELS, "offline"]
    close = difflib.get_close_matches(model_name, names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return (
        f"model_name={model_name!r} is not a known short name.{hint} Known names: "
        f"{', '.join(names)}. A hub id has the form 'owner/name'; a folder must exist."
    )


def _from_hub(name: str, hub_id: str, revision: str | None) -> Checkpoint:
    """Take a checkpoint from the local hub cache, or download it."""
    if hub_id.startswith("timm/"):
        _check_timm(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    download = partial(snapshot_download, hub_id, revision=revision, allow_patterns=_HUB_FILES)
    try:
        cached = Path(download(local_files_only=True))
        if not _missing_files(cached):
            return _checked(name, cached)
    except LocalEntryNotFoundError:
        pass
    _check_reachable(hub_id, revision)
    try:
        folder = Path(download())
    except Exception as error:
        raise CheckpointError(_unreachable_message(hub_id, error)) from None
    return _checked(name, folder)


def _check_reachable(hub_id: str, revision: str | None) -> None:
    """Ask the hub once: a download would retry for half a minute, and say less of the cause."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        HfApi().model_info(hub_id, revision=revision, timeout=20)
    except GatedRepoError:
        copy = (
            " Or use timm's copy of it, a name of `dinov2-sklearn models` that begins with timm/."
        )
        raise CheckpointError(
            f"The hub's checkpoint {hub_id!r} needs its licence accepted: do so on "
            f"https://huggingface.co/{hub_id}, then run `hf auth login`, or set HF_TOKEN."
            + (copy if "dinov3" in hub_id else "")
        ) from None
    except RevisionNotFoundError:
        raise CheckpointError(
            f"The hub's checkpoint {hub_id!r} has no revision {revision!r}."
        ) from None
    except RepositoryNotFoundError:
        short = ", ".join(DINOV2_MODELS)
        raise CheckpointError(
            f"The hub has no checkpoint {hub_id!r}, or it is private. Check the spelling, or use a "
            f"short name ({short}). There is no local folder of that name either."
        ) from None
    except Exception as error:
        raise CheckpointError(_unreachable_message(hub_id, error)) from None


def _unreachable_message(hub_id: str, error: Exception) -> str:
    return (
        f"Could not get the checkpoint {hub_id!r}: it is neither a local folder nor in the local "
        f"hub cache, and the hub could not be reached ({type(error).__name__}: {error}). "
        "Three ways out: connect to the internet and try again; copy the checkpoint to a folder "
        "and pass that folder as model_name; or pass model_name='offline', real weights from a "
        "package (see 'Offline weights' in docs/guide/embed.md)."
    )


def _missing_files(folder: Path) -> list[str]:
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    if not any((folder / name).is_file() for name in _WEIGHTS):
        missing.append(_WEIGHTS[0])
    return missing


def _checked(name: str, folder: Path) -> Checkpoint:
    """Return the checkpoint in a folder, read once until one of its files changes."""
    files = [folder / "config.json", folder / "preprocessor_config.json"]
    files += sorted(folder.glob("*.safetensors"))
    return _read(name, folder, tuple((file.name, ImageRef(str(file)).stamp()) for file in files))


@lru_cache
def _read(name: str, folder: Path, stamp: tuple) -> Checkpoint:
    """Return the checkpoint, or say which of its files is missing or of no use."""
    checkpoint = Checkpoint(name, folder, stamp)
    missing = _missing_files(folder)
    if missing:
        there = sorted(path.name for path in folder.iterdir())
        listing = (
            ", ".join(there[:10]) + (", ..." if len(there) > 10 else "") if there else "nothing"
        )
        hint = ""
        if "pytorch_model.bin" in there:
            hint = (
                " Weights in pytorch_model.bin are not read, since that format can run code: "
                "save them again with save_pretrained()."
            )
        raise CheckpointError(
            f"The checkpoint folder {folder} lacks {' and '.join(missing)}; it holds "
            f"{listing}.{hint}"
        )
    _check_config(checkpoint)
    return checkpoint


def _check_config(checkpoint: Checkpoint) -> None:
    """Refuse what is no known Vision Transformer, or does not say what is needed."""
    config, family = checkpoint.config, checkpoint.family
    if family == "timm":
        _check_timm(checkpoint.name)
        return
    if family not in _FAMILIES:
        foreign = ""
        if "auto_map" in config:
            foreign = " It asks for code that comes with it (auto_map), which is never run."
        raise CheckpointError(
            f"The checkpoint {checkpoint.name!r} is of type {config.get('model_type')!r}, which is "
            f"no known Vision Transformer: this package runs {', '.join(_FAMILIES)}, and timm's."
            + foreign
        )
    said = checkpoint.said
    needed = ("hidden_sizes",) if family == "dinov3_convnext" else _NEEDED
    if lacking := sorted(set(needed) - said.keys()):
        raise CheckpointError(f"{checkpoint.folder / 'config.json'} does not say {lacking}.")
    dim, heads = said.get("hidden_size", 0), said.get("num_attention_heads", 1)
    if "head_dim" not in said and dim % heads:
        raise CheckpointError(
            f"{checkpoint.folder / 'config.json'}: hidden_size={dim} is no multiple of "
            f"num_attention_heads={heads}. One of them is wrong."
        )


def _check_timm(name: str) -> None:
    if find_spec("timm") is None:
        raise CheckpointError(
            f"model_name={name!r} is a model of timm, which is not installed. Install it: "
            "pip install dinov2-sklearn[timm]"
        )


def _read_json(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    path = checkpoint.folder / name
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} could not be read: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} should hold a JSON object, not {type(content).__name__}.")
    return content
