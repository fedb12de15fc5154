"""How far a job is: the share of its pixels x steps, whatever its graph repeats."""

from __future__ import annotations

from fractions import Fraction

from impasto_core.graphs.estimate import Denoising
from impasto_core.jobs import events
from impasto_workers.narrator import Narrator
from impasto_workers.runtime import NodeCompleted, Step

GRAPH = {
    "nodes": {
        "sketch": {"id": "sketch", "type": "denoise_latents"},
        "detail": {"id": "detail", "type": "denoise_latents"},
        "mask": {"id": "mask", "type": "create_denoise_mask"},
    }
}


def progress_of(narrator: Narrator, node: str, step: int, total: int) -> float:
    told = narrator.tell(Step(node, step, total))
    assert isinstance(told, events.Step)
    return told.progress


def test_a_node_that_runs_four_times_is_a_quarter_done_after_the_first() -> None:
    narrator = Narrator(GRAPH)
    narrator.expect({"sketch": Denoising(times=4, pixel_steps=1000)})
    assert progress_of(narrator, "sketch", 5, 10) == 0.125
    narrator.tell(NodeCompleted("sketch", "denoise_latents"))
    assert narrator.denoised == Fraction(1, 4)
    assert progress_of(narrator, "sketch", 10, 10) == 0.5


def test_a_large_picture_is_more_than_a_small_one() -> None:
    narrator = Narrator(GRAPH)
    narrator.expect({"sketch": Denoising(1, 1000), "detail": Denoising(1, 9000)})
    narrator.tell(NodeCompleted("sketch", "denoise_latents"))
    assert narrator.denoised == Fraction(1, 10)


def test_nodes_count_alike_where_nothing_is_known_of_them() -> None:
    narrator = Narrator(GRAPH)
    narrator.tell(NodeCompleted("mask", "create_denoise_mask"))
    assert narrator.denoised == 0
    narrator.tell(NodeCompleted("sketch", "denoise_latents"))
    assert narrator.denoised == Fraction(1, 2)


def test_more_than_was_expected_is_never_more_than_all() -> None:
    narrator = Narrator(GRAPH)
    narrator.expect({"sketch": Denoising(1, 1000)})
    for _ in range(3):
        narrator.tell(NodeCompleted("sketch", "denoise_latents"))
    assert narrator.denoised == 1
