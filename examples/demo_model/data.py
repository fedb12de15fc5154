"""What the networks are shown: drawn masks, to be painted in any pair of colours that is not held out."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from world import COLOURS, HELD_OUT, PALETTE, SHAPES, SIZE, Scene, draw_mask, paint, random_scene

NAMES = list(COLOURS)
PAIRS = {  # the (colour, background) indices that training may use with a shape
    shape: np.array(
        [
            (i, j)
            for i, colour in enumerate(NAMES)
            for j, background in enumerate(NAMES)
            if i != j and (colour, background, shape) not in HELD_OUT
        ]
    )
    for shape in SHAPES
}


@dataclass
class Drawings:
    """Masks (N, 128, 128) in uint8 and the scene that each one shows, the colours aside."""

    masks: np.ndarray
    scenes: list[Scene]

    def colours(self, index: int, rng: np.random.Generator) -> tuple[int, int]:
        """A (colour, background) for one mask, as places in the palette; never a held-out combination."""
        allowed = PAIRS[self.scenes[index].shape]
        colour, background = allowed[rng.integers(len(allowed))]
        return int(colour), int(background)

    def pictures(self, indices: np.ndarray, rng: np.random.Generator, crop: int = SIZE) -> Tensor:
        """Painted pictures (B, 3, crop, crop) between -1 and 1, the colours a little off the palette."""
        pairs = np.array([self.colours(i, rng) for i in indices])
        colours = PALETTE[pairs].astype(np.float32) + rng.normal(0, 4, (len(indices), 2, 3))
        anything = rng.random(len(indices)) < 0.2  # so that a user's own picture passes through the VAE too
        colours[anything] = rng.uniform(0, 255, (int(anything.sum()), 2, 3))
        colours = colours.clip(0, 255)
        masks = self.masks[indices]
        if crop < masks.shape[-1]:
            y, x = rng.integers(0, masks.shape[-1] - crop + 1, 2)
            masks = masks[:, y : y + crop, x : x + crop]
        return to_tensor(paint(masks, colours[:, 0], colours[:, 1]))

    def painted(self, indices: np.ndarray, pairs: np.ndarray) -> Tensor:
        """The masks in exactly these (colour, background) pairs of the palette: (B, 3, 128, 128)."""
        return to_tensor(paint(self.masks[indices], PALETTE[pairs[:, 0]], PALETTE[pairs[:, 1]]))


def to_tensor(pictures: np.ndarray) -> Tensor:
    """uint8 (B, H, W, 3) to float (B, 3, H, W) between -1 and 1."""
    return (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous()


def drawings(file: Path, number: int = 24_000, seed: int = 1) -> Drawings:
    """Draw the masks once and keep them in `file`. The scenes come from the seed alone."""
    rng = random.Random(seed)  # noqa: S311
    scenes = [random_scene(rng) for _ in range(number)]
    if not file.exists():
        masks = np.stack([draw_mask(scene, rng) for scene in tqdm(scenes, desc="drawing", mininterval=5)])
        np.save(file, masks)
    return Drawings(np.load(file, mmap_mode="r"), scenes)
