"""A one-layer CLIP text encoder, taught to understand before there is any picture.

It learns to say, from its last token or from any padding after it, what a prompt tells about six attributes.
Padding matters: it is most of the 77 tokens that the diffusion model's cross-attention reads. Afterwards the
encoder is frozen, so that diffusion starts with words that already mean something.
"""

import random
from pathlib import Path

import torch
from fitting import fast, fit
from tokenizer import MAX_TOKENS
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
from world import COLOURS, COUNTS, POSITIONS, SHAPES, SIZES, prompt_for, random_scene

ATTRIBUTES: dict[str, tuple[object, ...]] = {
    "colour": tuple(COLOURS),
    "background": tuple(COLOURS),
    "shape": SHAPES,
    "size": SIZES,
    "count": COUNTS,
    "position": POSITIONS,
}


class Reader(nn.Module):
    """The encoder, and a linear layer per attribute that says which value was asked for, or that none was."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=768,  # what makes it a Stable Diffusion 1 encoder
                projection_dim=768,
                intermediate_size=128,
                num_hidden_layers=1,
                num_attention_heads=12,
                max_position_embeddings=MAX_TOKENS,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        self.heads = nn.ModuleDict(
            {name: nn.Linear(768, len(values) + 1) for name, values in ATTRIBUTES.items()}
        )

    def forward(self, tokens: Tensor, places: Tensor) -> dict[str, Tensor]:
        """Scores of each attribute's values (and, last, of "not said") read at one place of each prompt."""
        hidden = self.encoder(tokens).last_hidden_state
        read = hidden[torch.arange(len(tokens)), places]
        return {name: head(read) for name, head in self.heads.items()}


def tokenize(tokenizer: CLIPTokenizer, prompts: list[str]) -> Tensor:
    return tokenizer(
        prompts, padding="max_length", truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
    ).input_ids


def _exercise(
    tokenizer: CLIPTokenizer, rng: random.Random, size: int, held_out: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    scenes = [random_scene(rng, held_out=held_out) for _ in range(size)]
    prompts, said = zip(*(prompt_for(scene, rng) for scene in scenes), strict=True)
    answers = {
        name: torch.tensor([values.index(s[name]) if name in s else len(values) for s in said])
        for name, values in ATTRIBUTES.items()
    }
    return tokenize(tokenizer, list(prompts)), answers


def train(tokenizer: CLIPTokenizer, folder: Path, steps: int) -> CLIPTextModel:
    torch.manual_seed(4)
    reader = Reader(tokenizer)

    def loss_at(step: int) -> Tensor:
        rng = random.Random(4_000_000 + step)  # noqa: S311
        tokens, answers = _exercise(tokenizer, rng, 64, held_out=False)
        ends = (tokens == tokenizer.eos_token_id).int().argmax(1)
        places = torch.tensor([rng.choice((int(end), rng.randint(int(end), MAX_TOKENS - 1))) for end in ends])
        with fast():
            scores = reader(tokens, places)
        losses = [functional.cross_entropy(scores[name].float(), answers[name]) for name in scores]
        return torch.stack(losses).sum()

    fit(
        reader,
        loss_at,
        name="text encoder",
        steps=steps,
        rate=1e-3,
        checkpoint=folder / "text_encoder.pt",
        average=0.99,
    )
    tokens, answers = _exercise(tokenizer, random.Random(5), 1000, held_out=True)  # noqa: S311
    with torch.no_grad():
        scores = reader(tokens, torch.full((1000,), MAX_TOKENS - 1))
    for name, answer in answers.items():
        right = (scores[name].argmax(1) == answer).float().mean()
        print(f"  {name} understood in held-out prompts: {right:.1%}")
    return reader.encoder.requires_grad_(False)
