"""More tiny models with random weights: a LoRA, and Stable Diffusion XL with a VAE of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.workers.tiny_model import END, LATENT_CHANNELS, PROMPT_TOKENS, START, TEXT_WIDTH, byte_vocabulary

XL_WIDTHS = (768, 1280)  # of its two text encoders; together they are how InvokeAI recognises it


def write_lora(file: Path) -> None:
    """A LoRA for the tiny model's first cross attention."""
    import torch
    from safetensors.torch import save_file

    layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    generator = torch.Generator().manual_seed(0)
    save_file(
        {
            f"{layer}.lora_down.weight": torch.randn(2, TEXT_WIDTH, generator=generator),
            f"{layer}.lora_up.weight": torch.randn(16, 2, generator=generator),
            f"{layer}.alpha": torch.tensor(2.0),
        },
        file,
    )


def write_tiny_xl(folder: Path) -> None:
    """Stable Diffusion XL in diffusers' layout, for large pictures: no attention where those are large."""
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    vocabulary = byte_vocabulary()
    tokenizers = [
        CLIPTokenizer(vocab=vocabulary, merges=[], pad_token=END, model_max_length=PROMPT_TOKENS)
        for _ in XL_WIDTHS
    ]

    def text_config(width: int) -> Any:
        return CLIPTextConfig(
            vocab_size=len(vocabulary),
            hidden_size=width,
            projection_dim=width,
            intermediate_size=64,
            num_hidden_layers=2,  # the last but one is used
            num_attention_heads=width // 64,
            max_position_embeddings=PROMPT_TOKENS,
            bos_token_id=vocabulary[START],
            eos_token_id=vocabulary[END],
            pad_token_id=vocabulary[END],
        )

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, second = map(text_config, XL_WIDTHS)
        parts = {
            "text_encoder": CLIPTextModel(first),
            "text_encoder_2": CLIPTextModelWithProjection(second),
            "unet": UNet2DConditionModel(
                sample_size=128,
                in_channels=LATENT_CHANNELS,
                out_channels=LATENT_CHANNELS,
                block_out_channels=(8, 16, 32),
                down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
                layers_per_block=1,
                norm_num_groups=4,
                attention_head_dim=8,
                cross_attention_dim=sum(XL_WIDTHS),
                addition_embed_type="text_time",
                addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=XL_WIDTHS[1] + 6 * 8,
            ),
            "vae": _vae(),
        }
    for part in parts.values():
        part.half()
    StableDiffusionXLPipeline(
        tokenizer=tokenizers[0],
        tokenizer_2=tokenizers[1],
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
        **parts,
    ).save_pretrained(folder)


def write_tiny_xl_vae(folder: Path) -> None:
    _vae().half().save_pretrained(folder)


def _vae() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        sample_size=1024,
        latent_channels=LATENT_CHANNELS,
        block_out_channels=(4, 4, 4, 4),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=2,
        mid_block_add_attention=False,
        scaling_factor=0.13025,  # by this and the size InvokeAI recognises the family
    )
