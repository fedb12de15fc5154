"""Many pictures at once: every job is queued at the same time, and saved as soon as it is done."""

import asyncio

from impasto import AsyncImpasto, ImpastoError

PROMPTS = ["a red heart on white", "a yellow star on blue", "two green circles on black"]


async def paint(client: AsyncImpasto, prompt: str) -> None:
    try:
        images = await client.images.generate(prompt)
    except ImpastoError as error:
        print(f"{prompt}: {error}")
    else:
        path = await images[0].save(f"{prompt.replace(' ', '_')}.png")
        print(f"{prompt}: {path}")


async def main() -> None:
    async with AsyncImpasto() as client, asyncio.TaskGroup() as group:
        for prompt in PROMPTS:
            group.create_task(paint(client, prompt))


asyncio.run(main())
