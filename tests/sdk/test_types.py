"""What a type checker knows about both clients. Nothing here runs: mypy and pyright are the test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_type

if TYPE_CHECKING:
    from pathlib import Path

    import httpx
    from PIL.Image import Image as Pillow

    from impasto import AsyncImage, AsyncImpasto, AsyncJob, Image, Impasto, Job, webhooks
    from impasto._pagination import AsyncPage, Page
    from impasto.types import (
        AsyncEvent,
        Event,
        ImageToImage,
        NewApiKey,
        NewWebhookEndpoint,
        Succeeded,
        TextToImage,
        Upload,
        WebhookDelivery,
    )

    def synchronous(client: Impasto) -> None:
        images = client.images.generate("a big red heart", n=2, on_progress=print)
        assert_type(images[0], Image)
        assert_type(images.job, Job)
        assert_type(images[0].bytes, bytes)
        assert_type(images[0].save("heart.png"), Path)
        assert_type(images[0].pil(), Pillow)
        assert_type(images.job.images[0].bytes, bytes)
        assert_type(client.images.transform(images[0].pil(), "in watercolour")[0], Image)
        assert_type(client.jobs.create("text-to-image", TextToImage(prompt="x", steps=3)), Job)
        assert_type(client.jobs.create("image-to-image", ImageToImage(prompt="x", init_image="y")), Job)
        assert_type(client.jobs.create("something-new", {"anything": 1}), Job)
        page = client.jobs.list(status="running")
        assert_type(page, Page[Job])
        assert_type(page.next_page(), Page[Job] | None)
        for job in page:
            assert_type(job, Job)
        with client.jobs.events("job_1") as events:
            for event in events:
                assert_type(event, Event)
                if event.type == "succeeded":
                    assert_type(event, Succeeded)
                    assert_type(event.job.images[0].bytes, bytes)
        assert_type(client.uploads.upload(b""), Upload)
        assert_type(client.api_keys.create("nightly"), NewApiKey)
        assert_type(client.with_options(timeout=3), Impasto)
        assert_type(client.jobs.get("job_1").response, httpx.Response)
        client.jobs.get(1)  # type: ignore[arg-type]
        client.jobs.list(status="lost")  # type: ignore[arg-type]
        client.images.generate("x", stepz=3)  # type: ignore[call-arg]

    def received(body: bytes, headers: dict[str, str]) -> None:
        event = webhooks.unwrap(body, headers, "whsec_...")
        assert_type(event, webhooks.Event)
        if isinstance(event, webhooks.JobSucceeded | webhooks.JobFailed):
            assert_type(event.data, webhooks.JobData)
        elif isinstance(event, webhooks.UnknownEvent):
            assert_type(event.data, dict[str, Any])
        webhooks.unwrap({"type": "job.succeeded"}, headers, "whsec_...")  # type: ignore[arg-type]

    async def asynchronous(client: AsyncImpasto) -> None:
        assert_type(await client.webhooks.endpoints.create("https://example.com"), NewWebhookEndpoint)
        async for delivery in client.webhooks.deliveries.list(status="failed"):
            assert_type(delivery, WebhookDelivery)
        images = await client.images.generate("a big red heart", n=2, on_progress=print)
        assert_type(images[0], AsyncImage)
        assert_type(images.job, AsyncJob)
        assert_type(await images[0].bytes, bytes)
        assert_type(await images[0].save("heart.png"), Path)
        assert_type(await images[0].pil(), Pillow)
        assert_type(await client.jobs.create("text-to-image", {"prompt": "x"}), AsyncJob)
        pages = client.jobs.list(status="running")
        assert_type(await pages, AsyncPage[AsyncJob])
        async for job in pages:
            assert_type(job, AsyncJob)
        async with client.jobs.events("job_1") as events:
            async for event in events:
                assert_type(event, AsyncEvent)
                if event.type == "succeeded":
                    assert_type(await event.job.images[0].bytes, bytes)
        assert_type(await client.uploads.upload(b""), Upload)
        assert_type(client.with_options(timeout=3), AsyncImpasto)
        await client.jobs.get(1)  # type: ignore[arg-type]
