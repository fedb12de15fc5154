"""`python -m bench`: everything up, every row measured, the table printed and written.

With names, only those parts: `python -m bench painting http_api`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

from bench import claim, http_api, ledger, painting, rate_limits, report, sdk_import, streams, webhooks
from bench.installation import platform_up
from bench.profiles import profiled
from bench.rows import Row, table

PARTS = {
    "http_api": http_api.rows,
    "painting": painting.rows,
    "claim": claim.rows,
    "sdk_import": sdk_import.rows,
    "ledger": ledger.rows,
    "rate_limits": rate_limits.rows,
    "webhooks": webhooks.rows,
    "streams": streams.rows,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="all of them by default")
    parser.add_argument("--worker-python", type=Path, required=True, help="interpreter that has InvokeAI")
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="also record what py-spy sees")
    options = parser.parse_args()
    rows: list[Row] = []
    with (
        tempfile.TemporaryDirectory(prefix="impasto-bench-") as folder,
        platform_up(Path(folder), options.worker_python) as platform,
    ):
        for name in options.parts or PARTS:
            with profiled(platform, name, options.profile) if options.profile else nullcontext():
                for row in PARTS[name](platform):
                    rows.append(row)
                    print(table([row]).splitlines()[-1], file=sys.stderr)
    print(table(rows))
    if not options.parts and not options.profile:  # which slows what it looks at
        report.write(rows)


if __name__ == "__main__":
    main()
