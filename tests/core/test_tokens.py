"""API key tokens: recognisable, checked without a database, stored only as a keyed hash."""

from __future__ import annotations

import re
import string

import pytest

from impasto_core.api_keys.tokens import MalformedToken, Mode, mint, parse

ALPHABET = string.digits + string.ascii_letters


@pytest.mark.parametrize("mode", ["live", "test"])
def test_a_token_says_what_it_is_and_is_read_back(mode: Mode) -> None:
    token = mint(mode)
    assert re.fullmatch(rf"imp_{mode}_[0-9A-Za-z]{{50}}", token.text)
    assert parse(token.text) == token
    assert token.mode == mode
    assert token.text.startswith(f"imp_{mode}_{token.lookup_id}")


def test_no_two_tokens_are_alike() -> None:
    tokens = [mint("live") for _ in range(100)]
    assert len({token.text for token in tokens}) == 100
    assert len({token.lookup_id for token in tokens}) == 100


def test_every_single_mistyped_character_is_noticed() -> None:
    text = mint("live").text
    for place, character in enumerate(text):
        for other in ALPHABET:
            if other != character:
                with pytest.raises(MalformedToken):
                    parse(text[:place] + other + text[place + 1 :])


def test_what_was_cut_swapped_or_made_up_is_refused() -> None:
    text = mint("live").text
    for wrong in (
        "",
        "imp_live_",
        text[:-1],
        text + "0",
        " " + text,
        text + "\n",
        text.replace("imp_live_", "imp_test_"),
        text.replace("imp_", "sk_"),
        text[:20] + text[21] + text[20] + text[22:] if text[20] != text[21] else text[:-1],
        text[:-1] + "é",
        "imp_live_" + "0" * 50,
        "\0" * 59,
    ):
        with pytest.raises(MalformedToken):
            parse(wrong)


def test_the_hash_depends_on_the_token_and_on_the_pepper() -> None:
    token, other = mint("live"), mint("live")
    stored = token.hash("pepper")
    assert token.matches(stored, "pepper")
    assert not token.matches(stored, "another pepper")
    assert not other.matches(stored, "pepper")
    assert token.text.encode() not in stored


def test_a_token_that_is_logged_by_mistake_gives_no_secret_away() -> None:
    token = mint("live")
    assert token.text not in repr(token)
    assert token.text not in f"{token}"
