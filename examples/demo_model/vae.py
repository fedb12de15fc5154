"""The picture's short form: 128x128 pixels to 16x16 latents of four numbers and back, an `AutoencoderKL`.

Two things differ from a usual VAE, both so that the diffusion model has an easy life:

- The encoder's noise has a fixed size instead of a learnt one: smooth latents, and no balance to tune.
- Afterwards the latents are whitened (mean 0, covariance 1) *inside* the network: `quant_conv` and
  `post_quant_conv` are 1x1 convolutions, so a linear map and its inverse dissolve into their weights. Of all
  the whitened bases we take the one in which the fixed latent-to-colour table that Stable Diffusion tools use
  for previews is about right.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from data import Drawings
from diffusers import AutoencoderKL
from fitting import fast, fit
from torch import Tensor
from torch.nn import functional
from world import SIZE

NOISE = 0.1  # standard deviation of the noise on the latents while training

STEADY = 1.8  # the constant that steadies the norms, and so about what they divide by
OUTLINE = 4.0  # how much more than another a pixel near an outline counts

# Stable Diffusion 1.5's latents as colours between -1 and 1, four rows of (red, green, blue); InvokeAI
# previews with it.
PREVIEW = torch.tensor(
    [
        [0.3444, 0.1385, 0.0670],
        [0.1247, 0.4027, 0.1494],
        [-0.3192, 0.2513, 0.2103],
        [-0.1307, -0.1874, -0.7445],
    ]
)


def new() -> AutoencoderKL:
    network = AutoencoderKL(
        block_out_channels=(16, 24, 32, 48),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=1,
        sample_size=SIZE,
        scaling_factor=1.0,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )
    begin_with_mean_colours(network)
    return network


@torch.no_grad()
def begin_with_mean_colours(network: AutoencoderKL) -> None:
    """Let three of the latents be the mean colour of their 8x8 pixels, and the decoder blend such colours.

    From random weights a network this narrow spends most of its training on letting colours through, for a
    group norm divides a flat picture's colour away. Begun like this it has only the outlines to learn.
    Colours travel in six channels, each once as x and once as -x: the activation is silu, and
    silu(x) - silu(-x) = x. The others start at a constant that holds the norms' divisor steady.
    """
    centre = torch.zeros(3, 3)
    centre[1, 1] = 1
    mean = torch.zeros(3, 3)  # the strided convolutions pad below and at the right only
    mean[:2, :2] = 1 / 4
    bilinear = torch.tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16  # after every pixel has become four
    for half in (network.encoder, network.decoder):
        attended = half.mid_block.attentions[0].to_out[0]
        attended.weight.zero_()
        attended.bias.zero_()
    for name, layer in network.named_modules():
        if not isinstance(layer, torch.nn.Conv2d):
            continue
        part = name.rsplit(".", 1)[-1]
        weight, bias = layer.weight, layer.bias
        if part == "conv2":  # the end of a residual block, which begins as nothing
            weight.zero_()
            bias.zero_()
        elif part in ("quant_conv", "post_quant_conv"):
            weight[:3], bias[:3] = 0, 0
            weight[range(3), range(3), 0, 0] = 1
        elif part == "conv_out":
            weight[:3], bias[:3] = 0, 0
            for colour in range(3):
                weight[colour, 2 * colour] = STEADY * centre
                weight[colour, 2 * colour + 1] = -STEADY * centre
        else:
            bias.copy_(STEADY * (1 - 2 * (torch.arange(len(bias)) % 2)))
            weight[:6], bias[:6] = 0, 0
            for channel in range(6):
                if part == "conv_in":
                    weight[channel, channel // 2] = centre * (1 - 2 * (channel % 2))
                elif part == "conv_shortcut":
                    weight[channel, channel] = 1
                else:
                    weight[channel, channel] = mean if "downsamplers" in name else bilinear


def difference(painted: Tensor, pictures: Tensor) -> Tensor:
    """How far `painted` is from `pictures`; the few pixels near an outline make the shape and count most."""
    contrast = functional.max_pool2d(pictures, 5, 1, 2) + functional.max_pool2d(-pictures, 5, 1, 2)
    weight = 1 + OUTLINE * (contrast.amax(1, keepdim=True) > 0.1)
    error = painted - pictures
    return (weight * (error.abs() + error.square())).mean() / weight.mean()


def train(drawn: Drawings, folder: Path, steps: int) -> AutoencoderKL:
    torch.manual_seed(2)
    network = new()

    def loss_at(step: int) -> Tensor:
        rng = np.random.default_rng((2, step))
        # A quarter of a picture teaches as much as all of it.
        pictures = drawn.pictures(rng.integers(len(drawn.scenes), size=16), rng, SIZE // 2)
        with fast():
            latents = network.encode(pictures).latent_dist.mean.float()
            noisy = latents + NOISE * torch.from_numpy(rng.normal(size=latents.shape)).float()
            painted = network.decode(noisy).sample.float()
        return difference(painted, pictures) + 1e-3 * latents.square().mean()

    checkpoint = folder / "vae.pt"
    fit(network, loss_at, name="vae", steps=steps, rate=1e-3, checkpoint=checkpoint, average=0.98)
    return whiten(network, drawn)


@torch.no_grad()
def whiten(network: AutoencoderKL, drawn: Drawings) -> AutoencoderKL:
    """Fold `latents -> W (latents - mean)` into the encoder's end, its inverse into the decoder's start."""
    rng = np.random.default_rng(3)
    pictures = drawn.pictures(rng.integers(len(drawn.scenes), size=512), rng)
    raw = torch.cat([network.encode(part).latent_dist.mean for part in pictures.split(32)])
    points = raw.permute(0, 2, 3, 1).reshape(-1, 4)
    colours = functional.avg_pool2d(pictures, 8).permute(0, 2, 3, 1).reshape(-1, 3)
    mean = points.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(points.T))
    white = vectors @ torch.diag(values.rsqrt()) @ vectors.T

    # What colours look like in the whitened basis, and the rotation that brings it nearest to PREVIEW.
    seen = torch.linalg.lstsq((points - mean) @ white.T, colours - colours.mean(0)).solution
    left, _, right = torch.linalg.svd(PREVIEW @ seen.T)
    left[:, 3] *= torch.linalg.det(
        left @ right
    )  # the direction without colour: a rotation, never a reflection
    forward = (left @ right) @ white
    backward = torch.linalg.inv(forward)

    out, back = network.quant_conv, network.post_quant_conv
    out.weight[:4] = torch.einsum("ij,jkhw->ikhw", forward, out.weight[:4])
    out.bias[:4] = forward @ (out.bias[:4] - mean)
    out.weight[4:], out.bias[4:] = 0.0, -12.0  # the log-variance: an encoding is, to the eye, always the same
    back.bias += back.weight[:, :, 0, 0] @ mean
    back.weight.copy_(torch.einsum("ikhw,kj->ijhw", back.weight, backward))
    return network


def refine(
    network: AutoencoderKL,
    latents: Tensor,
    pictures: Callable[[np.ndarray], Tensor],
    folder: Path,
    steps: int,
) -> AutoencoderKL:
    """Go on with the decoder alone, on whole pictures whose latents are settled. `pictures` paints by place.

    The diffusion model needs the encoder only, and so can be trained meanwhile.
    """
    network.encoder.requires_grad_(False)
    network.quant_conv.requires_grad_(False)

    def loss_at(step: int) -> Tensor:
        rng = np.random.default_rng((8, step))
        chosen = rng.integers(len(latents), size=4)
        noise = torch.from_numpy(rng.normal(size=(4, *latents.shape[1:]))).float()
        with fast():
            painted = network.decode(latents[chosen].float() + NOISE * noise).sample.float()
        return difference(painted, pictures(chosen))

    fit(network, loss_at, name="decoder", steps=steps, rate=1e-3, checkpoint=folder / "decoder.pt")
    return network
