"""A prompt in, pictures out."""

from __future__ import annotations

import io
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from impasto import StorageError
from tests.sdk import samples
from tests.sdk.conftest import Sdk
from tests.sdk.samples import QUEUED, final
from tests.sdk.scripted_server import Answer, Received, ScriptedServer, answer, problem, stream


def png(size: int = 8) -> bytes:
    buffer = io.BytesIO()
    Pillow.new("RGB", (size, size), "red").save(buffer, "PNG")
    return buffer.getvalue()


def file(content: bytes) -> Answer:
    return Answer(200, content, {"content-type": "image/png"})


def generation(server: ScriptedServer, *urls: str) -> None:
    """The server will make a job and finish it with images at these URLs."""
    images = [samples.image(server.url + url, id=f"img_{index}") for index, url in enumerate(urls)]
    server.will(answer(202, samples.job()), stream(QUEUED, final(images=images)))


def generate(client: Any) -> Any:
    return client.images.generate("a big red heart")


async def test_generate_makes_a_job_and_waits_for_its_images(sdk: Sdk, server: ScriptedServer) -> None:
    generation(server, "/a.png", "/b.png")
    images = await sdk(
        lambda client: client.images.generate(
            "a big red heart", negative_prompt="blue", width=64, seed=7, n=2, metadata={"order": "7"}
        )
    )
    assert [image.id for image in images] == ["img_0", "img_1"]
    assert images.job.status == "succeeded"
    assert images.job.request_id is None or images.job.request_id
    assert server.received[0].json == {
        "pipeline": "text-to-image",
        "input": {"prompt": "a big red heart", "negative_prompt": "blue", "width": 64, "seed": 7, "n": 2},
        "metadata": {"order": "7"},
    }
    assert server.received[1].path == f"/v1/jobs/{samples.JOB_ID}/events"


async def test_an_image_is_downloaded_when_it_is_first_used_and_once(
    sdk: Sdk, server: ScriptedServer, tmp_path: Path
) -> None:
    generation(server, "/a.png?X-Amz-Signature=abc")
    (image,) = await sdk(generate)
    assert image.url == f"{server.url}/a.png?X-Amz-Signature=abc"
    assert len(server.received) == 2
    server.will(file(png()))
    assert await sdk(lambda _: image.bytes) == png()
    saved = await sdk(lambda _: image.save(tmp_path / "heart.png"))
    assert saved == tmp_path / "heart.png"
    assert saved.read_bytes() == png()
    assert await sdk(lambda _: image.save(str(tmp_path))) == tmp_path / "img_0.png"
    assert (await sdk(lambda _: image.pil())).size == (8, 8)
    assert len(server.received) == 3
    download = server.received[2]
    assert download.path == "/a.png?X-Amz-Signature=abc"
    assert "authorization" not in download.headers


async def test_a_url_that_has_expired_is_replaced(sdk: Sdk, server: ScriptedServer) -> None:
    generation(server, "/old.png")
    (image,) = await sdk(generate)
    server.will(
        Answer(403, b"<Error><Code>AccessDenied</Code></Error>"),
        answer(200, samples.image(f"{server.url}/new.png")),
        file(b"new"),
    )
    assert await sdk(lambda _: image.bytes) == b"new"
    assert [request.path for request in server.received[2:]] == ["/old.png", "/v1/images/img_0", "/new.png"]


async def test_a_download_is_retried_and_then_told(sdk: Sdk, server: ScriptedServer) -> None:
    generation(server, "/a.png?X-Amz-Signature=abc")
    (image,) = await sdk(generate)
    server.will(Answer(500), Answer(503, headers={"retry-after": "1"}), Answer(404, b"NoSuchKey"))
    with pytest.raises(StorageError, match="NoSuchKey") as caught:
        await sdk(lambda _: image.bytes)
    assert "Signature" not in str(caught.value)
    assert caught.value.status == 404


async def test_pil_says_what_it_needs(
    sdk: Sdk, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation(server, "/a.png")
    (image,) = await sdk(generate)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"impasto\[pil\]"):
        await sdk(lambda _: image.pil())


def sources(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "sketch.png"
    path.write_bytes(png())
    return {
        "path": path,
        "text": str(path),
        "bytes": png(),
        "file": io.BytesIO(png()),
        "pillow": Pillow.new("RGB", (8, 8)),
    }


@pytest.mark.parametrize("kind", ["path", "text", "bytes", "file", "pillow"])
async def test_any_picture_can_be_transformed(
    sdk: Sdk, server: ScriptedServer, tmp_path: Path, kind: str
) -> None:
    headers = {"Content-Type": "image/png", "x-amz-meta-note": "signed"}
    server.will(
        answer(201, samples.upload(f"{server.url}/bucket?signature=abc", headers=headers)), Answer(200)
    )
    generation(server, "/a.png")
    source = sources(tmp_path)[kind]
    images = await sdk(lambda client: client.images.transform(source, "in watercolour", strength=0.4))
    assert len(images) == 1
    announced, sent, created, _ = server.received
    assert announced.json == {"content_type": "image/png", "size": len(sent.body)}
    assert Pillow.open(io.BytesIO(sent.body)).size == (8, 8)
    assert (sent.method, sent.path) == ("PUT", "/bucket?signature=abc")
    assert created.json["pipeline"] == "image-to-image"
    assert created.json["input"] == {
        "init_image": samples.UPLOAD_ID,
        "prompt": "in watercolour",
        "strength": 0.4,
    }


async def test_an_upload_carries_exactly_the_signed_headers_and_no_key(
    sdk: Sdk, server: ScriptedServer
) -> None:
    headers = {"Content-Type": "image/png", "x-amz-meta-note": "signed"}
    server.will(answer(201, samples.upload(f"{server.url}/bucket", headers=headers)), Answer(200))
    await sdk(lambda client: client.uploads.upload(png()))
    assert server.received[1].headers == {
        "host": server.url.removeprefix("http://"),
        "content-length": str(len(png())),
        "content-type": "image/png",
        "x-amz-meta-note": "signed",
    }


def transform(source: Any, client: Any) -> Any:
    return client.images.transform(source, "again")


async def test_a_picture_the_api_already_has_is_not_uploaded_again(sdk: Sdk, server: ScriptedServer) -> None:
    generation(server, "/a.png")
    (image,) = await sdk(generate)
    server.will(answer(200, samples.upload("http://127.0.0.1:9/")))
    upload = await sdk(lambda client: client.uploads.get(samples.UPLOAD_ID))
    for source, expected in [
        (image, "img_0"),
        (upload, samples.UPLOAD_ID),
        (samples.IMAGE_ID, samples.IMAGE_ID),
    ]:
        server.received.clear()
        generation(server, "/b.png")
        await sdk(partial(transform, source))
        assert server.received[0].json["input"]["init_image"] == expected


@pytest.mark.parametrize(
    ("content", "content_type"),
    [(b"\xff\xd8\xff\xe0", "image/jpeg"), (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp")],
)
async def test_the_type_is_told_by_the_content(
    sdk: Sdk, server: ScriptedServer, content: bytes, content_type: str
) -> None:
    server.will(answer(201, samples.upload(f"{server.url}/bucket")), Answer(200))
    await sdk(lambda client: client.uploads.upload(content))
    assert server.received[0].json["content_type"] == content_type


async def test_what_is_no_picture_is_not_sent(sdk: Sdk, server: ScriptedServer, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="PNG, JPEG or WebP"):
        await sdk(lambda client: client.uploads.upload(b"hello"))
    with pytest.raises(FileNotFoundError):
        await sdk(lambda client: client.images.transform(tmp_path / "nothing.png", "x"))
    assert server.received == []


async def test_a_refused_upload_is_told(sdk: Sdk, server: ScriptedServer) -> None:
    def refuse(request: Received) -> Answer:
        return Answer(403, b"<Code>SignatureDoesNotMatch</Code>")

    server.will(answer(201, samples.upload(f"{server.url}/bucket?X-Amz-Signature=abc")), refuse)
    with pytest.raises(StorageError, match=r"403 from PUT http://127\.0\.0\.1:\d+/bucket: <Code>Signature"):
        await sdk(lambda client: client.uploads.upload(png()))


async def test_a_refused_job_waits_for_nothing(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(problem(422, "validation-failed"))
    with pytest.raises(Exception, match="validation-failed"):
        await sdk(generate)
    assert len(server.received) == 1
