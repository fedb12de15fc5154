"""Uploads: whatever is put there, only a picture that was looked at is ever used."""

from __future__ import annotations

import io
import struct
import zlib
from datetime import datetime
from typing import Any

import httpx
import pytest
from PIL import Image as Picture
from sqlalchemy import func
from sqlmodel import select

from impasto_core.database import Database
from impasto_core.database.tables import Job
from impasto_core.settings import Settings
from tests.api.conftest import MovableClock
from tests.support.painters import Painter, encode, png
from tests.support.problems import assert_problem
from tests.support.tenants import Tenant

Upload = dict[str, Any]
FIELD = "input.init_image"


async def announce(client: httpx.AsyncClient, content: bytes, content_type: str = "image/png") -> Upload:
    response = await client.post("/v1/uploads", json={"content_type": content_type, "size": len(content)})
    assert response.status_code == 201, response.text
    upload: Upload = response.json()
    return upload


async def put(anyone: httpx.AsyncClient, upload: Upload, content: bytes) -> httpx.Response:
    return await anyone.request(upload["method"], upload["url"], content=content, headers=upload["headers"])


async def bring(
    client: httpx.AsyncClient,
    anonymous: httpx.AsyncClient,
    content: bytes,
    content_type: str = "image/png",
) -> Upload:
    """Announce the bytes and put them there."""
    upload = await announce(client, content, content_type)
    stored = await put(anonymous, upload, content)
    assert stored.status_code == 200, stored.text
    return upload


async def use(client: httpx.AsyncClient, upload: Upload, **changes: Any) -> httpx.Response:
    body = {"pipeline": "image-to-image", "input": {"prompt": "blue", "init_image": upload["id"]} | changes}
    return await client.post("/v1/jobs", json=body)


async def refused(client: httpx.AsyncClient, upload: Upload) -> dict[str, Any]:
    """What is wrong with the upload, and that nothing came of it."""
    problem = assert_problem(await use(client, upload), 422, "validation-failed", field=FIELD)
    assert (await client.get("/v1/jobs")).json()["data"] == []
    assert (await client.get(f"/v1/uploads/{upload['id']}")).json()["status"] == "pending"
    error: dict[str, Any] = problem["errors"][0]
    return error


def png_that_claims(width: int, height: int) -> bytes:
    """A few dozen bytes that say they are a very large picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


async def test_a_picture_is_announced_uploaded_used_and_then_verified(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, painter: Painter
) -> None:
    picture = png(200, 100, "blue")
    upload = await announce(client, picture)
    assert (upload["object"], upload["status"], upload["method"]) == ("upload", "pending", "PUT")
    assert (await put(anonymous, upload, picture)).status_code == 200

    response = await use(client, upload)
    assert response.status_code == 202, response.text
    job = response.json()
    assert (job["input"]["width"], job["input"]["height"]) == (200, 96), "its own size, made to fit"
    claimed = await painter.claim()
    assert list(claimed.images_in) == [upload["id"]]
    verified = Picture.open(io.BytesIO(await painter.read(claimed.images_in[upload["id"]])))
    assert (verified.format, verified.size) == ("PNG", (200, 100))

    after = (await client.get(f"/v1/uploads/{upload['id']}")).json()
    assert (after["status"], after["width"], after["height"]) == ("verified", 200, 100)
    assert after["url"] is None
    assert datetime.fromisoformat(after["expires_at"]) > datetime.fromisoformat(upload["expires_at"])


@pytest.mark.parametrize(("format_", "content_type"), [("JPEG", "image/jpeg"), ("WEBP", "image/webp")])
async def test_jpeg_and_webp_are_pictures_too(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, format_: str, content_type: str
) -> None:
    content = encode(Picture.new("RGB", (64, 64), "green"), format_)
    upload = await bring(client, anonymous, content, content_type)
    assert (await use(client, upload)).status_code == 202


async def test_of_a_telephones_two_jpegs_in_one_file_the_first_counts(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    buffer = io.BytesIO()
    second = Picture.new("RGB", (96, 64), "blue")
    Picture.new("RGB", (96, 64), "red").save(buffer, "MPO", save_all=True, append_images=[second])
    upload = await bring(client, anonymous, buffer.getvalue(), "image/jpeg")
    assert (await use(client, upload)).status_code == 202


async def test_a_picture_whose_notes_are_broken_is_refused(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    buffer = io.BytesIO()
    Picture.new("RGB", (96, 64), "red").save(buffer, "WEBP", exif=b"Exif\0\0II*\0")
    upload = await bring(client, anonymous, buffer.getvalue(), "image/webp")
    assert_problem(await use(client, upload), 422, "validation-failed", field=FIELD)


async def test_an_upload_can_be_used_many_times(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    upload = await bring(client, anonymous, png())
    keys = [(await use(client, upload)).status_code for _ in range(3)]
    assert keys == [202, 202, 202]


async def test_a_photograph_is_turned_upright_and_tells_nothing_of_its_maker(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, painter: Painter
) -> None:
    """Exif says: turn by 90 degrees. Left half red, right half blue becomes red above blue."""
    sideways = Picture.new("RGB", (128, 64), "red")
    sideways.paste("blue", (64, 0, 128, 64))
    exif = Picture.Exif()
    exif[0x0112] = 6  # orientation
    exif[0x010F] = "Camera of Jane Doe"
    buffer = io.BytesIO()
    sideways.save(buffer, "JPEG", exif=exif, quality=95)
    upload = await bring(client, anonymous, buffer.getvalue(), "image/jpeg")

    job = (await use(client, upload)).json()
    assert (job["input"]["width"], job["input"]["height"]) == (64, 128)
    content = await painter.read((await painter.claim()).images_in[upload["id"]])
    upright = Picture.open(io.BytesIO(content))
    assert upright.size == (64, 128)
    assert not upright.getexif()
    assert b"Jane Doe" not in content
    top, bottom = (upright.convert("RGB").getpixel((32, y)) for y in (16, 112))
    assert top[0] > 200 > 50 > top[2]
    assert bottom[2] > 200 > 50 > bottom[0]


async def test_transparency_stays(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, painter: Painter
) -> None:
    content = encode(Picture.new("RGBA", (64, 64), (255, 0, 0, 100)), "PNG")
    upload = await bring(client, anonymous, content)
    await use(client, upload)
    verified = Picture.open(io.BytesIO(await painter.read((await painter.claim()).images_in[upload["id"]])))
    assert verified.getpixel((0, 0)) == (255, 0, 0, 100)


NOT_PICTURES: dict[str, tuple[bytes, str, str]] = {
    "a text": (b"just some words, and no picture at all", "image/png", "not_an_image"),
    "a web page": (b"<html><script>alert(1)</script></html>", "image/webp", "not_an_image"),
    "an SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/png", "not_an_image"),
    "a GIF": (encode(Picture.new("P", (8, 8)), "GIF"), "image/png", "not_an_image"),
    "a PNG that is cut off": (png(256, 256)[:-80], "image/png", "damaged"),
    "a JPEG that is cut off": (
        encode(Picture.effect_noise((256, 256), 90), "JPEG")[:-5000],
        "image/jpeg",
        "damaged",
    ),
    "the beginning of a PNG": (png()[:20], "image/png", "damaged"),
    "a PNG with a byte changed": (
        png()[:60] + bytes([png()[60] ^ 255]) + png()[61:],
        "image/png",
        "damaged",
    ),
    "a PNG said to be a JPEG": (png(), "image/jpeg", "wrong_type"),
    "a decompression bomb": (png_that_claims(30_000, 30_000), "image/png", "too_many_pixels"),
    "a larger one": (png_that_claims(2**31 - 1, 2**31 - 1), "image/png", "too_many_pixels"),
    "a picture of a few pixels too many": (png_that_claims(4001, 4000), "image/png", "too_many_pixels"),
    "a picture without a pixel": (png_that_claims(0, 64), "image/png", "not_an_image"),
}


async def test_what_is_no_picture_is_refused_and_nothing_comes_of_it(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    for name, (content, content_type, code) in NOT_PICTURES.items():
        with subtests.test(name):
            upload = await bring(client, anonymous, content, content_type)
            error = await refused(client, upload)
            assert error["code"] == code, error
            assert "0x" not in error["detail"], "no talk of objects in memory"


async def test_an_upload_must_have_been_uploaded(client: httpx.AsyncClient) -> None:
    upload = await announce(client, png())
    assert (await refused(client, upload))["code"] == "not_uploaded"


async def test_an_upload_that_never_came_expires(
    client: httpx.AsyncClient, clock: MovableClock, settings: Settings
) -> None:
    upload = await announce(client, png())
    clock.advance(seconds=settings.upload_url_seconds + 1)
    assert (await refused(client, upload))["code"] == "expired"
    late = (await client.get(f"/v1/uploads/{upload['id']}")).json()
    assert late["url"] is None, "no new URL for an upload that has expired"


async def test_the_url_takes_nothing_but_what_was_announced(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    upload = await announce(client, png())
    assert (await put(anonymous, upload, png() + b"more")).status_code == 403
    page = {"Content-Type": "text/html"}
    assert (await put(anonymous, upload | {"headers": page}, png())).status_code == 403
    assert (await refused(client, upload))["code"] == "not_uploaded"


async def test_bytes_that_are_swapped_after_the_check_are_never_used(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, painter: Painter
) -> None:
    checked, swapped = png(64, 64, "blue"), png(64, 64, "lime")
    size = max(len(checked), len(swapped))
    checked, swapped = checked.ljust(size, b"\0"), swapped.ljust(size, b"\0")
    upload = await bring(client, anonymous, checked)
    assert (await use(client, upload)).status_code == 202
    assert (await put(anonymous, upload, swapped)).status_code == 200, "the URL still works"
    assert (await use(client, upload)).status_code == 202
    for _ in range(2):
        claimed = await painter.claim()
        used = Picture.open(io.BytesIO(await painter.read(claimed.images_in[upload["id"]])))
        assert used.convert("RGB").getpixel((0, 0)) == (0, 0, 255)


async def test_a_strangers_upload_is_neither_found_nor_used(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, stranger: Tenant, owner_database: Database
) -> None:
    upload = await bring(client, anonymous, png())
    found = await anonymous.get(f"/v1/uploads/{upload['id']}", headers=stranger.headers)
    assert_problem(found, 404, "not-found")
    body = {"pipeline": "image-to-image", "input": {"prompt": "mine", "init_image": upload["id"]}}
    used = await anonymous.post("/v1/jobs", json=body, headers=stranger.headers)
    problem = assert_problem(used, 422, "validation-failed", field=FIELD)
    assert problem["errors"][0]["code"] == "not_found"
    async with owner_database.session() as session:
        assert (await session.exec(select(func.count()).select_from(Job))).one() == 0


async def test_a_strength_that_leaves_no_step_is_refused(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    upload = await bring(client, anonymous, png())
    response = await use(client, upload, strength=0.05, steps=1)
    assert_problem(response, 422, "validation-failed", field="input.strength")


async def test_a_retry_of_a_job_whose_picture_is_gone_gets_the_first_answer(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, painter: Painter
) -> None:
    upload = await bring(client, anonymous, png())
    body = {"pipeline": "image-to-image", "input": {"prompt": "blue", "init_image": upload["id"]}}
    first = await client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"})
    await painter.forget_uploads()
    retry = await client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"})
    assert retry.content == first.content
    assert_problem(
        await client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "another"}),
        422,
        "validation-failed",
        field=FIELD,
    )
