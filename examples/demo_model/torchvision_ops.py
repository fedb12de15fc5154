"""Import me first: makes a CUDA build of torchvision importable beside a CPU build of torch.

`import transformers` may import torchvision, which fails where its compiled part cannot load, because two
operators are then unknown. Nothing calls them here; naming them is enough. Where they load, this is idle.
"""

from importlib.util import find_spec
from pathlib import Path

import torch


def declare_missing_operators() -> torch.library.Library | None:
    """The declared operators, which live as long as this reference, or None where they are not needed."""
    found = find_spec("torchvision")
    if found is None or found.origin is None:
        return None
    try:
        for compiled in Path(found.origin).parent.glob("_C*.so"):
            torch.ops.load_library(compiled)
    except OSError:
        operators = torch.library.Library("torchvision", "DEF")
        operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        operators.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return operators
    return None


OPERATORS = declare_missing_operators()
