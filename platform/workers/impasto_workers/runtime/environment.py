"""The process as InvokeAI needs to find it: every cache under one root, no network, no chatter.

InvokeAI and the libraries under it read these variables while they are imported, so this comes first and
imports none of them.
"""

import logging
import os
import sys
from pathlib import Path


def pin_environment(root: Path, device: str) -> None:
    """Point InvokeAI and the libraries under it at `root` and `device`.

    Raises RuntimeError when InvokeAI was imported already: it would keep what it had read.
    """
    if "invokeai" in sys.modules:
        raise RuntimeError("a process has one runtime, and it has to be opened before InvokeAI is imported")

    root = root.resolve()
    caches = {
        "HF_HOME": root / "cache" / "huggingface",
        "MPLCONFIGDIR": root / "cache" / "matplotlib",
        "TORCH_HOME": root / "cache" / "torch",
        "TORCHINDUCTOR_CACHE_DIR": root / "cache" / "torchinductor",
        "TRITON_CACHE_DIR": root / "cache" / "triton",
    }
    for variable, path in caches.items():
        path.mkdir(parents=True, exist_ok=True)
        os.environ[variable] = str(path)

    os.environ.update(
        INVOKEAI_ROOT=str(root),
        INVOKEAI_DEVICE=device,
        INVOKEAI_GENERATION_DEVICES=f'["{device}"]',
        INVOKEAI_NODE_CACHE_SIZE="0",  # its key knows no tenant: one's outputs would be served to another
        INVOKEAI_LOG_HANDLERS="[]",  # records go to the root logger like everybody's
        INVOKEAI_LOG_LEVEL="warning",
    )
    # On the CPU torch's threads wait for each other a thousand times a picture. To sleep each time makes a
    # small picture take twice as long; to spin for milliseconds, as they would, a busy machine crawl.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # some 0.1 ms
    offline_and_quiet()


def offline_and_quiet() -> None:
    """Keep Hugging Face's libraries from calling home, and all from drawing progress bars into the log."""
    os.environ.update(
        DIFFUSERS_VERBOSITY="error",
        HF_HUB_OFFLINE="1",
        HF_HUB_DISABLE_PROGRESS_BARS="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        TOKENIZERS_PARALLELISM="false",
        TQDM_DISABLE="1",
        TRANSFORMERS_VERBOSITY="error",
    )
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it misses optional kernels, aloud
