"""`impastoctl models`."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from impasto_ctl.errors import ControlError
from impasto_ctl.installation import DEFAULT_STATE_DIR, Installation, StateDirOption

if TYPE_CHECKING:
    from impasto_core.models.tables import Model

app = typer.Typer(help="The vetted models that workers may run.", no_args_is_help=True)


@app.command()
def add(
    slug: Annotated[str, typer.Argument(help="What requests call it.")],
    source: Annotated[str, typer.Argument(help="A folder in diffusers' layout, or s3://bucket/prefix.")],
    base: Annotated[str, typer.Option(help="Its architecture, as InvokeAI calls it.")] = "sd-1",
    kind: Annotated[
        str, typer.Option("--type", help="What it is, as InvokeAI calls it: main, vae, lora, controlnet.")
    ] = "main",
    name: Annotated[str | None, typer.Option(help="As people read it.", show_default="the slug")] = None,
    description: Annotated[str, typer.Option(help="A sentence about it.")] = "",
    digest: Annotated[
        str | None, typer.Option(help="sha256:... of what was vetted.", show_default="made from the folder")
    ] = None,
    pool: Annotated[str, typer.Option(help="Which workers run it.")] = "default",
    width: Annotated[
        int, typer.Option(min=64, max=1024, help="Of a picture where the request has none.")
    ] = 512,
    height: Annotated[int, typer.Option(min=64, max=1024)] = 512,
    steps: Annotated[int, typer.Option(min=1, max=100, help="Where the request has none.")] = 20,
    guidance: Annotated[float, typer.Option(min=1, max=30, help="Where the request has none.")] = 7.5,
    scheduler: Annotated[str, typer.Option(help="Where the request has none.")] = "euler",
    max_pixels: Annotated[int, typer.Option(min=64 * 64, help="The largest picture, width times height.")] = (
        1024 * 1024
    ),
    state_dir: StateDirOption = DEFAULT_STATE_DIR,
) -> None:
    """Add a model, or change the one of that slug.

    The digest covers every file: a worker that fetches the model from S3 runs what was vetted or nothing.

    **Examples**

    * `impastoctl models add dreamshaper ./dreamshaper-8`

    * `impastoctl models add dreamshaper s3://models/dreamshaper-8 --digest sha256:9f86d0...`
    """
    from impasto_core.models.service import folder_digest
    from impasto_core.models.tables import Model
    from impasto_core.pipelines.base import Scheduler
    from impasto_core.settings import POOL_NAME

    if not re.fullmatch(POOL_NAME, pool):
        raise ControlError(f"{pool!r} is no pool: use up to 63 letters, digits, - and _, a letter first.")
    if scheduler not in list(Scheduler):
        raise ControlError(f"There is no scheduler {scheduler}: use one of {', '.join(Scheduler)}.")
    if not source.startswith("s3://"):
        folder = Path(source).resolve()
        if not folder.is_dir():
            raise ControlError(f"There is no folder {folder}.")
        source, digest = folder.as_uri(), digest or folder_digest(folder)
    if digest is None:
        raise ControlError("A model in S3 needs its --digest, as `models add` of the same folder shows it.")
    model = Model(
        slug=slug,
        name=name or slug,
        description=description,
        base=base,
        type=kind,
        source=source,
        digest=digest,
        pool=pool,
        default_width=width,
        default_height=height,
        default_steps=steps,
        default_guidance=guidance,
        default_scheduler=scheduler,
        max_pixels=max_pixels,
    )
    asyncio.run(_add(Installation(state_dir).database_url, model))
    typer.echo(f"{slug} {digest}")


@app.command(name="list")
def list_models(state_dir: StateDirOption = DEFAULT_STATE_DIR) -> None:
    """List every model, disabled ones too: slug, pool, source, digest."""
    for model in asyncio.run(_list(Installation(state_dir).database_url)):
        state = "" if model.enabled else "  (disabled)"
        typer.echo(f"{model.slug}  {model.pool}  {model.source}  {model.digest}{state}")


async def _add(owner_url: str, model: Model) -> None:
    from impasto_core.models.service import put_model
    from impasto_ctl.database import owner_session

    async with owner_session(owner_url) as session:
        await put_model(session, model)


async def _list(owner_url: str) -> list[Model]:
    from sqlmodel import col, select

    from impasto_core.models.tables import Model
    from impasto_ctl.database import owner_session

    async with owner_session(owner_url) as session:
        return list((await session.exec(select(Model).order_by(col(Model.slug)))).all())
