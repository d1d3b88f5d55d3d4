"""Read picture files as gray or color images, as viewers show them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".webp")
_WIDE = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # modes that a conversion to 8 bits would clip


def read_picture(file: Path, size: Sequence[int] | None, invert: bool, color: bool = False) -> tuple[Tensor, list[str]]:
    """Read a picture as an upright image, with paper where it is transparent.

    Paper becomes 0: it is black, or white if the picture is inverted.

    Args:
        file: the picture.
        size: height and width to which it is resized; None keeps them.
        invert: whether to turn dark on light into light on dark.
        color: whether to keep colors.

    Returns:
        The image, uint8 with shape (height, width), or (3, height, width) with colors, and a list of what is lost.

    Raises:
        ValueError: for a picture that is damaged, or has more than 8 bits.
    """
    from PIL import Image, ImageOps

    lost = []
    try:
        with Image.open(file) as picture:
            if picture.mode in _WIDE:
                raise ValueError(f"its pixels have more than 8 bits (mode {picture.mode}): save it with 8")
            if getattr(picture, "n_frames", 1) > 1:
                lost.append("have several frames, of which the first one is taken")
            upright = _on_paper(ImageOps.exif_transpose(picture), 255 if invert else 0)
            if not color and _has_colors(upright):
                lost.append("have colors, which are made gray")
            plain = upright.convert("RGB" if color else "L")
            if size is not None:
                plain = plain.resize((size[1], size[0]), Image.Resampling.BOX)
            values = torch.from_numpy(np.array(plain))
            values = values.movedim(-1, 0) if color else values
    except Exception as error:  # any error of the reader
        raise ValueError(f"cannot read {file}: {error}") from error
    return 255 - values if invert else values, lost


def _on_paper(picture: "Image", paper: int) -> "Image":
    from PIL import Image

    if not picture.has_transparency_data:
        return picture
    layer = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, (paper, paper, paper, 255)), layer).convert("RGB")


def _has_colors(picture: "Image") -> bool:
    if picture.mode in ("1", "L"):
        return False
    channels = np.asarray(picture.convert("RGB"))
    return bool((channels != channels[..., :1]).any())
