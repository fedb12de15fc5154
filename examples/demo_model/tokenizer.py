"""A CLIP tokenizer built offline: byte pairs learnt on the grammar's own prompts, until a word is one token.

Any other text still works, it only takes more tokens: every byte is in the vocabulary.
"""

import json
import random
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer
from world import prompt_for, random_scene

START, END = "<|startoftext|>", "<|endoftext|>"
MAX_TOKENS = 77


def build(folder: Path, prompts: int = 20_000) -> CLIPTokenizer:
    """Learn the merges and save the tokenizer as SD-1 folders have it (vocab.json, merges.txt)."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)  # noqa: S311
    corpus = (prompt_for(random_scene(rng), rng)[0] for _ in range(prompts))

    bytes_and_pairs = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bytes_and_pairs.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_and_pairs.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=1200,
            min_frequency=200,
            initial_alphabet=alphabet,
            end_of_word_suffix="</w>",
            show_progress=False,
        ),
    )
    learnt = json.loads(bytes_and_pairs.to_str())["model"]
    merges = [" ".join(pair) for pair in learnt["merges"]]
    words = (
        alphabet + [letter + "</w>" for letter in alphabet] + ["".join(pair.split(" ")) for pair in merges]
    )
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys([*words, START, END]))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")

    tokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=MAX_TOKENS, pad_token=END)
    tokenizer.save_pretrained(folder)
    return tokenizer
