"""`invokeai-web` as it comes, on a torch that has no CUDA. Run by the worker's interpreter.

All it adds is what torchvision needs to be imported there; the server itself is untouched.
"""

from __future__ import annotations

from impasto_workers.runtime.torchvision_ops import declare_missing_operators


def main() -> None:
    declare_missing_operators()
    from invokeai.app.run_app import run_app

    run_app()


if __name__ == "__main__":
    main()
