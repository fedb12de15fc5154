"""Lets torchvision's CUDA wheel be imported beside a CPU-only torch."""

import importlib.util
from pathlib import Path

import torch

_LIBRARY: torch.library.Library | None = None  # the declarations live as long as this object


def declare_missing_operators() -> None:
    """Declare torchvision's two compiled operators where its compiled part cannot be loaded.

    On import torchvision registers Python twins of `nms` and `qnms`, which fails when the operators
    themselves are missing. Nothing that we run calls them. Where the compiled part loads, this does nothing.
    """
    global _LIBRARY
    torchvision = importlib.util.find_spec("torchvision")
    if _LIBRARY is not None or torchvision is None or torchvision.origin is None:
        return
    for compiled in Path(torchvision.origin).parent.glob("_C*"):
        try:
            torch.ops.load_library(compiled)
        except OSError:
            continue
        return

    _LIBRARY = torch.library.Library("torchvision", "DEF")
    _LIBRARY.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _LIBRARY.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
