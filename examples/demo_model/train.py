"""Trains `impasto-shapes`, the text-to-image model that the repository carries, from nothing.

    python examples/demo_model/train.py                    # needs torch, diffusers, transformers and scipy
    python examples/demo_model/train.py --run my_run --folder my_model

Stop it at any time: started again it goes on where
it was. Given more steps of a stage, it trains on; after more steps of the VAE remove decoder.pt and
latents.pt from the run's folder, which come of it. Every random number comes from a fixed seed, but
other versions of torch and other numbers of threads round differently.
"""

import argparse
from functools import partial
from pathlib import Path

import torchvision_ops  # noqa: F401 (makes the imports below possible beside a CPU-only torch)

# isort: split
import diffusion
import text_encoder
import tokenizer
import torch
import vae
from data import drawings

REPOSITORY = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--run", type=Path, default=Path("demo_model_run"), help="checkpoints, kept between starts"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=REPOSITORY / "platform/demo_model/impasto_demo_model/impasto-shapes",
        help="where the finished model goes",
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--drawings", type=int, default=24_000, help="to learn from")
    parser.add_argument("--vae-steps", type=int, default=8500)
    parser.add_argument("--decoder-steps", type=int, default=2500, help="of the VAE's decoder alone")
    parser.add_argument("--text-steps", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=12_000, help="of the diffusion model")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    run: Path = chosen.run
    run.mkdir(parents=True, exist_ok=True)

    drawn = drawings(run / "masks.npy", chosen.drawings)
    words = tokenizer.build(run / "tokenizer")
    encoder = text_encoder.train(words, run, chosen.text_steps)
    autoencoder = vae.train(drawn, run, chosen.vae_steps)
    scenes = diffusion.scenes_to_learn(drawn)
    texts = diffusion.embed_prompts(scenes, words, encoder, run / "texts.pt")
    latents = diffusion.encode_pictures(drawn, scenes, autoencoder, run / "latents.pt")
    vae.refine(
        autoencoder, latents, partial(diffusion.paint_scenes, drawn, scenes), run, chosen.decoder_steps
    )
    painter = diffusion.train(latents, texts, run, chosen.steps)
    diffusion.publish(chosen.folder, words, encoder, autoencoder, painter)
    print(f"The model is in {chosen.folder}")


if __name__ == "__main__":
    main()
