"""Reads a picture back: which colour on which, what shape, how many. No learning, only pixels.

Background is the palette colour of most of the border. Whatever differs clearly from it is foreground; its
connected parts are counted, and each is compared with the eight drawn templates at its bounding box's size.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage
from world import COLOURS, PALETTE, SHAPES, shape_mask

NAMES = list(COLOURS)
SEEN_SIDE = 48  # pixels to which a part and the templates are brought


@dataclass(frozen=True)
class Reading:
    """What a picture shows; None where there is nothing that could be named."""

    colour: str | None
    background: str
    shape: str | None
    count: int


def _seen(cover: np.ndarray) -> np.ndarray:
    """A part cut out at its bounding box and stretched to a square of fixed size, as booleans."""
    rows, columns = np.flatnonzero(cover.any(1)), np.flatnonzero(cover.any(0))
    box = cover[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    stretched = Image.fromarray(box.astype(np.uint8) * 255).resize(
        (SEEN_SIDE, SEEN_SIDE), Image.Resampling.BILINEAR
    )
    return np.asarray(stretched) > 127


TEMPLATES = {shape: _seen(shape_mask(shape, [(0.5, 0.5)], 0.4) > 127) for shape in SHAPES}


def palette_places(pixels: np.ndarray) -> np.ndarray:
    """The nearest palette colour of each pixel (..., 3), as its place in the palette."""
    distance = np.square(pixels[..., None, :].astype(np.int32) - PALETTE.astype(np.int32)).sum(-1)
    return distance.argmin(-1)


def read(picture: Image.Image) -> Reading:
    pixels = np.asarray(picture.convert("RGB"))
    places = palette_places(pixels)
    border = np.concatenate(
        [places[:2].ravel(), places[-2:].ravel(), places[:, :2].ravel(), places[:, -2:].ravel()]
    )
    back = int(np.bincount(border, minlength=len(NAMES)).argmax())

    backdrop = np.median(pixels[places == back], axis=0)
    contrast = np.sqrt(np.square(pixels - backdrop).sum(-1))
    cover = contrast > max(30.0, 0.5 * float(np.percentile(contrast, 99.5)))
    parts, number = ndimage.label(cover)
    least = 0.003 * cover.size  # anything smaller is a speck: the smallest ring that is drawn has twice that
    kept = [part for part in range(1, number + 1) if (parts == part).sum() >= least]
    if not kept:
        return Reading(None, NAMES[back], None, 0)

    inside = np.isin(parts, kept)
    core = ndimage.binary_erosion(inside)  # edges are mixtures of the two colours
    votes = np.bincount(places[core if core.any() else inside], minlength=len(NAMES))
    likeness = dict.fromkeys(SHAPES, 0.0)
    for part in kept:
        seen = _seen(parts == part)
        for shape, template in TEMPLATES.items():
            likeness[shape] += float((seen & template).sum() / (seen | template).sum()) / len(kept)
    best = max(likeness, key=likeness.__getitem__)
    return Reading(NAMES[int(votes.argmax())], NAMES[back], best if likeness[best] > 0.6 else None, len(kept))
