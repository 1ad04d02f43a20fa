"""DICOM files, as radiology writes them, by pydicom."""

from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ._options import Decoding, RefusedImageError, no_such_page
from ._samples import Samples

__all__ = ["dicom_pages", "dicom_samples", "dicom_size"]


def _read(file: IO[bytes]) -> Any:
    try:
        from pydicom import dcmread
    except ImportError as error:
        raise RefusedImageError(
            'a DICOM file needs pydicom: pip install "dinov2-sklearn[dicom]"'
        ) from error
    file.seek(0)
    dataset = dcmread(file)
    if not {"Rows", "Columns", "PixelData"} <= set(dataset.dir()):
        kind = dataset.get("Modality", "unknown")
        raise RefusedImageError(f"it has no pixels (modality {kind}): it may be a report or a plan")
    return dataset


def dicom_size(file: IO[bytes]) -> tuple[int, int]:
    """Return (width, height)."""
    dataset = _read(file)
    return int(dataset.Columns), int(dataset.Rows)


def dicom_pages(file: IO[bytes]) -> int:
    """Return how many frames there are."""
    return int(_read(file).get("NumberOfFrames") or 1)


def dicom_samples(file: IO[bytes], decoding: Decoding, page: int = 0) -> Samples:
    """Return a frame, in the units of its modality and with its window, if it has one."""
    from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, pixel_array

    dataset = _read(file)
    decoding.refuse_bomb(int(dataset.Columns), int(dataset.Rows))
    if page >= (n_pages := int(dataset.get("NumberOfFrames") or 1)):
        raise RefusedImageError(no_such_page(page, n_pages))
    values = np.asarray(pixel_array(dataset, index=page))
    photometric = str(dataset.PhotometricInterpretation)
    if photometric == "PALETTE COLOR":
        colours = apply_color_lut(values, dataset)
        return Samples((colours >> (8 * colours.dtype.itemsize - 8)).astype(np.uint8))
    if values.ndim == 3:
        return Samples(values)
    padding = dataset.get("PixelPaddingValue")
    ignored = None if padding is None else (values == padding)
    limits: tuple[float, float] | None = None
    values = apply_modality_lut(values, dataset)
    if "VOILUTSequence" in dataset:
        values = apply_voi_lut(values, dataset, prefer_lut=True)
    elif "WindowCenter" in dataset and "WindowWidth" in dataset:
        limits = _window(dataset)
    return Samples(
        _deepened(values)[..., None],
        None,
        ignored,
        white_is_zero=photometric == "MONOCHROME1",
        limits=limits,
    )


def _window(dataset: Any) -> tuple[float, float] | None:
    # Where there are several, the first is the one to begin with.
    centre, width = (
        float(np.atleast_1d(dataset[name].value)[0]) for name in ("WindowCenter", "WindowWidth")
    )
    return (centre - width / 2, centre + width / 2) if width > 0 else None


def _deepened(values: NDArray[Any]) -> NDArray[Any]:
    # Bytes are values of a modality here, and not yet brightness.
    return values.astype(np.uint16) if values.dtype == np.uint8 else values
