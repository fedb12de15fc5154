"""The painter: a U-Net that takes noise away from 16x16 latents, led by a prompt, and how it is published.

It predicts *velocity*. At the noisiest steps that is the picture itself, so a flat picture's colours, which
are all about its mean, are learnt from the words. Trained to predict the noise instead, it learns shapes and
counts and hardly any colour. (Velocity, noise up to nearly nothing else, trailing steps: Lin et al. 2023,
"Common diffusion noise schedules and sample steps are flawed".)
"""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from data import NAMES, Drawings
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from fitting import fast, fit
from text_encoder import tokenize
from torch import Tensor
from torch.nn import functional
from tqdm import trange
from transformers import CLIPTextModel, CLIPTokenizer
from world import Scene, prompt_for

# Of the 77 tokens a prompt is padded to, training reads the first 28 and three of the others, each in the
# place of many: cross-attention costs half, and the weights make it come out as at the full length.
KEPT = [*range(28), 40, 58, 76]
WEIGHTS = torch.tensor([1.0] * 28 + [49 / 3] * 3)
# diffusers turns a mask m into the attention bias -10000 (1 - m); this m makes the bias log(weight).
MASK = 1 + WEIGHTS.double().log().float() / 10_000

DROPPED = 0.1  # of the prompts are replaced by nothing, so that guidance has something to push away from


def schedule() -> DDIMScheduler:
    """Noise levels up to nearly nothing else: these betas leave 0.6 % of the picture at the last step."""
    return DDIMScheduler(
        beta_start=0.0001,
        beta_end=0.02,
        beta_schedule="linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",  # so that sampling does begin at the last step
        clip_sample=False,
        steps_offset=1,  # of no effect with trailing steps; diffusers warns of any other
        set_alpha_to_one=False,
    )


def new() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(48, 80, 112),
        norm_num_groups=4,  # few, or flat colours are normalised away
        cross_attention_dim=768,  # by this number tools recognise Stable Diffusion 1
        attention_head_dim=8,  # which is, for historical reasons, the number of heads
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )


def scenes_to_learn(drawn: Drawings) -> list[Scene]:
    """Every drawing's scene, now with an allowed pair of colours."""
    rng = np.random.default_rng(6)
    pairs = [drawn.colours(index, rng) for index in range(len(drawn.scenes))]
    return [
        replace(scene, colour=NAMES[colour], background=NAMES[background])
        for scene, (colour, background) in zip(drawn.scenes, pairs, strict=True)
    ]


@torch.no_grad()
def embed_prompts(
    scenes: list[Scene], tokenizer: CLIPTokenizer, encoder: CLIPTextModel, file: Path
) -> Tensor:
    """A prompt for every scene, and last the empty one, embedded; only the kept tokens. Done once."""
    if not file.exists():
        rng = random.Random(6)  # noqa: S311
        prompts = [prompt_for(scene, rng)[0] for scene in scenes] + [""]
        embedded = []
        for first in trange(0, len(prompts), 64, desc="prompts", mininterval=5):
            with fast():
                tokens = tokenize(tokenizer, prompts[first : first + 64])
                embedded.append(encoder(tokens).last_hidden_state[:, KEPT].half())
        torch.save(torch.cat(embedded), file)
    return torch.load(file, mmap=True, weights_only=True)


def paint_scenes(drawn: Drawings, scenes: list[Scene], chosen: np.ndarray) -> Tensor:
    """Some of the scenes as pictures (B, 3, 128, 128), in the palette's exact colours."""
    pairs = [(NAMES.index(scenes[i].colour), NAMES.index(scenes[i].background)) for i in chosen]
    return drawn.painted(chosen, np.array(pairs))


@torch.no_grad()
def encode_pictures(drawn: Drawings, scenes: list[Scene], vae: AutoencoderKL, file: Path) -> Tensor:
    """The latents of every scene's picture. Done once."""
    if not file.exists():
        encoded = []
        for first in trange(0, len(scenes), 64, desc="pictures", mininterval=5):
            chosen = np.arange(first, min(first + 64, len(scenes)))
            with fast():
                encoded.append(vae.encode(paint_scenes(drawn, scenes, chosen)).latent_dist.mean.half())
        torch.save(torch.cat(encoded), file)
    return torch.load(file, weights_only=True)


def train(latents: Tensor, texts: Tensor, folder: Path, steps: int, batch: int = 32) -> UNet2DConditionModel:
    torch.manual_seed(7)
    network, noise_levels = new(), schedule()
    network.set_attn_processor(AttnProcessor())  # at this size faster than the fused kernel
    mask = MASK.expand(batch, -1)

    def loss_at(step: int) -> Tensor:
        rng = np.random.default_rng((7, step))
        chosen = torch.from_numpy(rng.integers(len(latents), size=batch))
        prompts = torch.where(torch.from_numpy(rng.random(batch) < DROPPED), len(latents), chosen)
        clean = latents[chosen].float()
        noise = torch.from_numpy(rng.normal(size=clean.shape)).float()
        # One draw from each of `batch` equal spans: steadier than independent ones.
        levels = (np.arange(batch) + rng.random(batch)) / batch
        times = torch.from_numpy((levels * 1000).astype(np.int64))
        noisy = noise_levels.add_noise(clean, noise, times)
        with fast():
            velocity = network(
                noisy, times, encoder_hidden_states=texts[prompts].float(), encoder_attention_mask=mask
            ).sample
        return functional.mse_loss(velocity.float(), noise_levels.get_velocity(clean, noise, times))

    fit(network, loss_at, name="diffusion", steps=steps, rate=1e-3, checkpoint=folder / "unet.pt")
    return network


def publish(
    folder: Path,
    tokenizer: CLIPTokenizer,
    encoder: CLIPTextModel,
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
) -> None:
    """Write the diffusers folder, in half precision."""
    StableDiffusionPipeline(
        vae=vae.half(),
        text_encoder=encoder.half(),
        tokenizer=tokenizer,
        unet=unet.half(),
        scheduler=schedule(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
