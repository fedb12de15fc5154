"""The `impasto` command: pictures from a shell."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from ._client import Impasto
from ._exceptions import ImpastoError
from ._files import is_id
from ._follow import DEFAULT_TIMEOUT
from ._request import given
from ._version import __version__

# What `impasto RESOURCE list` shows, and what else the resource can do with an id.
_RESOURCES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "jobs": (("id", "status", "pipeline", "model", "created_at"), ("get", "wait", "cancel")),
    "images": (("id", "job_id", "width", "height", "seed", "created_at"), ("get", "delete")),
    "models": (("id", "name", "base", "default"), ("get",)),
    "pipelines": (("id", "title", "description"), ("get",)),
    "api-keys": (("id", "name", "mode", "hint", "created_at", "revoked_at"), ("get", "revoke", "roll")),
}
_OPTIONS = {  # of `impasto generate`, by the names of the API
    "negative_prompt": str,
    "model": str,
    "width": int,
    "height": int,
    "steps": int,
    "guidance": float,
    "scheduler": str,
    "seed": int,
    "n": int,
    "strength": float,
}


_USAGE_COLUMNS = {"day": "day", "model": "model", "api_key": "api_key_name"}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        with Impasto() as client:
            options.run(client, options)
    except (ImpastoError, OSError, ValueError) as error:
        sys.stderr.write(f"impasto: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _generate(client: Impasto, options: argparse.Namespace) -> None:
    values = given({name: getattr(options, name) for name in ["prompt", *_OPTIONS]})
    pipeline = "text-to-image"
    if options.init_image:
        pipeline = "image-to-image"
        given_id = is_id(options.init_image)
        values["init_image"] = (
            options.init_image if given_id else client.uploads.upload(options.init_image).id
        )
    job = client.jobs.create(pipeline, values)
    try:
        job = client.jobs.wait(job.id, timeout=options.timeout, progress=not options.quiet)
    except KeyboardInterrupt:
        client.jobs.cancel(job.id)
        sys.stderr.write(f"\nimpasto: canceled {job.id}\n")
        raise
    for image, path in zip(job.images, _paths(options.output, len(job.images)), strict=True):
        _print(image.save(path))


def _paths(output: Path, count: int) -> list[Path]:
    """A file for each image: out.png, or out-1.png, out-2.png, ... A folder names them by their ids."""
    if count == 1 or output.is_dir():
        return [output] * count
    return [output.with_stem(f"{output.stem}-{number}") for number in range(1, count + 1)]


def _list(client: Impasto, options: argparse.Namespace) -> None:
    columns, _ = _RESOURCES[options.resource]
    items: Any = getattr(client, options.resource.replace("-", "_")).list()
    _table(columns, islice(items, options.limit))


def _credits(client: Impasto, options: argparse.Namespace) -> None:
    _table(("available", "held", "owed", "expiring_soon", "next_expiry"), [client.credits.balance()])


def _usage(client: Impasto, options: argparse.Namespace) -> None:
    query = {"start": options.start, "end": options.end, "group_by": options.by}
    if options.csv:
        sys.stdout.write(client.usage.csv(**query))
        return
    groups = [_USAGE_COLUMNS[name] for name in options.by.split(",") if name in _USAGE_COLUMNS]
    columns = (*groups, "jobs_succeeded", "jobs_failed", "jobs_canceled", "images", "gpu_seconds", "credits")
    _table(columns, client.usage.list(**query, limit=100))


def _table(columns: Sequence[str], items: Iterable[Any]) -> None:
    rows = [[_cell(getattr(item, column)) for column in columns] for item in items]
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in [columns, *rows]:
        _print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _act(client: Impasto, options: argparse.Namespace) -> None:
    resource = getattr(client, options.resource.replace("-", "_"))
    result = getattr(resource, options.action)(options.id)
    if result is not None:
        _print(result.model_dump_json(indent=2))


def _cell(value: Any) -> str:
    return (
        "-"
        if value is None
        else value.isoformat(" ", "seconds")
        if isinstance(value, datetime)
        else str(value)
    )


def _print(text: object) -> None:
    sys.stdout.write(f"{text}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="impasto",
        description="Make pictures with Impasto.",
        epilog="The key is read from IMPASTO_API_KEY, the address of the API from IMPASTO_BASE_URL.",
    )
    parser.add_argument("--version", action="version", version=f"impasto {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    generate = commands.add_parser("generate", help="make pictures of a prompt, and save them")
    generate.set_defaults(run=_generate)
    generate.add_argument("prompt")
    generate.add_argument(
        "-o", "--output", type=Path, default=Path(), metavar="PATH", help="a file or a folder"
    )
    generate.add_argument("--init-image", metavar="FILE|ID", help="a picture to start from")
    for name, kind in _OPTIONS.items():
        flag = "-n" if name == "n" else "--" + name.replace("_", "-")
        generate.add_argument(flag, type=kind, metavar=kind.__name__.upper())
    generate.add_argument("--timeout", type=float, default=DEFAULT_TIMEOUT, metavar="SECONDS")
    generate.add_argument("-q", "--quiet", action="store_true", help="show no progress")

    credit = commands.add_parser("credits", help="what there is to spend")
    credit.set_defaults(run=_credits)

    usage = commands.add_parser("usage", help="what was made, and what it cost")
    usage.set_defaults(run=_usage)
    usage.add_argument("--by", default="day", metavar="day,model,api_key", help="one or more of these")
    usage.add_argument("--start", metavar="DATE", help="the first day; by default 29 days before the last")
    usage.add_argument("--end", metavar="DATE", help="the last day; by default today")
    usage.add_argument("--csv", action="store_true", help="print all of it as CSV")

    for name, (_, actions) in _RESOURCES.items():
        resource = commands.add_parser(name, help=f"list, {', '.join(actions)}")
        verbs = resource.add_subparsers(required=True, metavar="ACTION")
        listing = verbs.add_parser("list", help="the newest first")
        listing.add_argument("--limit", type=int, default=20, metavar="N")
        listing.set_defaults(run=_list, resource=name)
        for action in actions:
            verb = verbs.add_parser(action)
            verb.add_argument("id")
            verb.set_defaults(run=_act, resource=name, action=action)
    return parser


if __name__ == "__main__":
    sys.exit(main())
