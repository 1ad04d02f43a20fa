"""Reading a checkpoint's ``preprocessor_config.json``."""

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

__all__ = ["read_config"]

_KNOWN_STEPS = {
    "do_resize",
    "do_center_crop",
    "do_rescale",
    "do_normalize",
    "do_convert_rgb",  # always done: load_image gives RGB
}


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Translate an image processor's configuration to the fields of `Preprocessing`.

    Parameters
    ----------
    config : dict
        See `Preprocessing.from_config`.

    Returns
    -------
    dict
        ``resize``, ``crop``, ``resample``, ``rescale``, ``mean`` and ``std``.

    Raises
    ------
    ValueError
        Where the configuration cannot be followed to the letter.
    """
    # Processors save what they do not use as null.
    given = {key: value for key, value in config.items() if value is not None}
    unknown = [k for k, on in given.items() if k.startswith("do_") and on and k not in _KNOWN_STEPS]
    if unknown:
        raise ValueError(f"The preprocessor config asks for unknown steps: {', '.join(unknown)}.")
    crop = _read_crop(given)
    mean, std = _read_statistics(given)
    rescales = given.get("do_rescale", True)
    resample = given.get("resample", Image.Resampling.BICUBIC)
    if not isinstance(resample, int):
        raise _bad("resample", resample, "an integer of PIL.Image.Resampling")
    return {
        "resize": _read_resize(given, crop),
        "crop": crop,
        "resample": int(resample),
        "rescale": float(given.get("rescale_factor", 1 / 255)) if rescales else None,
        "mean": mean,
        "std": std,
    }


def _read_crop(given: Mapping[str, Any]) -> tuple[int, int] | None:
    if not given.get("do_center_crop", "crop_size" in given):
        return None
    size = _required(given, "crop_size", "do_center_crop")
    if _is_edge(size):
        return size, size
    pair = _as_pair(size)
    if pair is None:
        raise _bad("crop_size", size, "an int, or a height and a width")
    return pair


def _read_resize(
    given: Mapping[str, Any], crop: tuple[int, int] | None
) -> int | tuple[int, int] | None:
    if not given.get("do_resize", True):
        return None
    size = _required(given, "size", "do_resize")
    if _is_edge(size):
        return (size, size) if given.get("default_to_square", crop is None) else size
    pair = _as_pair(size)
    if pair is not None:
        return pair
    edges = _without_null(size) if isinstance(size, Mapping) else {}
    if set(edges) != {"shortest_edge"} or not _is_edge(edges["shortest_edge"]):
        raise _bad("size", size, "an int, a shortest_edge, or a height and a width")
    if crop is None and "do_center_crop" not in given:
        raise ValueError(
            "The preprocessor config resizes the shortest edge but has no crop_size; add it, or "
            "set do_center_crop to false if the images are meant to differ in shape."
        )
    return edges["shortest_edge"]


def _read_statistics(given: Mapping[str, Any]) -> tuple[Any, Any]:
    if not given.get("do_normalize", True):
        return None, None
    return _read_channels(given, "image_mean"), _read_channels(given, "image_std")


def _read_channels(given: Mapping[str, Any], key: str) -> tuple[float, ...]:
    values = _required(given, key, "do_normalize")
    if isinstance(values, (int, float)):
        values = [values] * 3
    if not isinstance(values, Sequence) or len(values) != 3:
        raise _bad(key, values, "a number, or one for each of the three channels")
    return tuple(float(value) for value in values)


def _required(given: Mapping[str, Any], key: str, switch: str) -> Any:
    if key not in given:
        raise ValueError(
            f"The preprocessor config has no {key!r} although {switch!r} is not false; "
            f"it has {', '.join(sorted(given)) or 'nothing'}."
        )
    return given[key]


def _as_pair(size: Any) -> tuple[int, int] | None:
    if isinstance(size, Mapping):
        edges = _without_null(size)
        pair = (edges["height"], edges["width"]) if set(edges) == {"height", "width"} else ()
    else:
        pair = tuple(size) if isinstance(size, Sequence) and not isinstance(size, str) else ()
    return (pair[0], pair[1]) if len(pair) == 2 and all(map(_is_edge, pair)) else None


def _without_null(size: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in size.items() if value is not None}


def _is_edge(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _bad(key: str, value: Any, wanted: str) -> ValueError:
    return ValueError(f"The preprocessor config's {key!r} must be {wanted}, got {value!r}.")
