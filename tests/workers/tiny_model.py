"""Writes a tiny Stable Diffusion 1 model with random weights: every part is real, the pictures are noise.

    python -m tests.workers.tiny_model FOLDER

A few megabytes, no download, the same bytes every time: for tests, which it makes many times quicker.
"""

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

from impasto_workers.runtime.environment import offline_and_quiet

PROMPT_TOKENS = 77
TEXT_WIDTH = 768  # by this width InvokeAI recognises Stable Diffusion 1
LATENT_CHANNELS = 4
START, END = "<|startoftext|>", "<|endoftext|>"


def write_tiny_model(folder: Path, seed: int = 0) -> None:
    """Write the model in diffusers' layout. A folder that is already there is left as it is.

    The folder appears complete or not at all, also when two processes write it at once.
    """
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        build_pipeline(seed).save_pretrained(draft)
        draft.chmod(0o755)
        draft.rename(folder)
    except OSError:
        if not folder.exists():  # otherwise another process was first, with the same bytes
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def build_pipeline(seed: int) -> Any:
    """A StableDiffusionPipeline of the smallest parts that diffusers accepts, in half precision."""
    offline_and_quiet()
    from impasto_workers.runtime.torchvision_ops import declare_missing_operators

    declare_missing_operators()
    import torch
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    vocabulary = byte_vocabulary()
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[], pad_token=END, model_max_length=PROMPT_TOKENS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(vocabulary),
                hidden_size=TEXT_WIDTH,
                projection_dim=TEXT_WIDTH,
                intermediate_size=64,
                num_hidden_layers=1,
                num_attention_heads=12,
                max_position_embeddings=PROMPT_TOKENS,
                bos_token_id=vocabulary[START],
                eos_token_id=vocabulary[END],
                pad_token_id=vocabulary[END],
            )
        )
        unet = UNet2DConditionModel(
            sample_size=8,
            in_channels=LATENT_CHANNELS,
            out_channels=LATENT_CHANNELS,
            block_out_channels=(16, 32),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            norm_num_groups=8,
            cross_attention_dim=TEXT_WIDTH,
        )
        vae = AutoencoderKL(
            sample_size=64,
            latent_channels=LATENT_CHANNELS,
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            norm_num_groups=4,
        )
    for part in (text_encoder, unet, vae):
        part.half()
    scheduler = PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
    )
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def byte_vocabulary() -> dict[str, int]:
    """CLIP's vocabulary without a single merge: each byte alone, and at a word's end; start and end of text.

    CLIP writes bytes as letters. Printable ones stand for themselves, the others for letters from U+0100 on.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = [chr(byte) for byte in printable] + [chr(0x100 + i) for i in range(256 - len(printable))]
    return {
        token: i for i, token in enumerate([*letters, *(f"{letter}</w>" for letter in letters), START, END])
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a tiny Stable Diffusion 1 model with random weights.")
    parser.add_argument("folder", type=Path, help="where to; left as it is when it exists")
    write_tiny_model(parser.parse_args().folder)


if __name__ == "__main__":
    main()
