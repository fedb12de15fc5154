"""The object store: S3 and whatever speaks its protocol. Calls run in threads, off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import boto3
from boto3.exceptions import Boto3Error
from botocore.client import Config
from botocore.exceptions import BotoCoreError, ClientError

from impasto_core.settings import Settings

T = TypeVar("T")

_THREADS = 16


class ObjectNotFound(Exception):
    """There is no object under the key."""


class StorageUnavailable(Exception):
    """The object store did not answer, or refused us."""


@dataclass(frozen=True)
class ObjectInfo:
    size: int
    content_type: str


class ObjectStore:
    """One bucket: the platform's own unless another is named. Every method may raise StorageUnavailable."""

    def __init__(self, settings: Settings, bucket: str | None = None) -> None:
        self._bucket = bucket or settings.s3_bucket
        self._client = _client(settings, settings.s3_endpoint_url)
        public = settings.s3_public_endpoint_url
        # A signature covers the host, so URLs for others are signed for the host that they will ask.
        self._signer = _client(settings, public) if public else self._client
        # Threads of its own: a store that is slow must not keep the event loop's shared ones.
        self._threads = ThreadPoolExecutor(_THREADS, "object-store")

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        await self._call("put_object", Key=key, Body=data, ContentType=content_type, ContentLength=len(data))

    async def get(self, key: str, *, at_most: int | None = None) -> bytes:
        """The object, or its first `at_most` bytes. Raises ObjectNotFound."""
        return await self._in_thread(self._get, key, at_most)

    def _get(self, key: str, at_most: int | None) -> bytes:
        response = self._call_now("get_object", Key=key)
        try:
            body: bytes = response["Body"].read(at_most)
        except (BotoCoreError, OSError) as error:
            raise StorageUnavailable(str(error)) from error
        return body

    async def head(self, key: str) -> ObjectInfo:
        """Raises ObjectNotFound."""
        response = await self._call("head_object", Key=key)
        return ObjectInfo(response["ContentLength"], response.get("ContentType", ""))

    async def sizes_below(self, prefix: str) -> dict[str, int]:
        """Every object whose key starts with the prefix, with its size in bytes."""
        return await self._in_thread(self._sizes_below, prefix)

    def _sizes_below(self, prefix: str) -> dict[str, int]:
        sizes: dict[str, int] = {}
        more: dict[str, str] = {}
        while True:
            page = self._call_now("list_objects_v2", Prefix=prefix, **more)
            sizes |= {found["Key"]: found["Size"] for found in page.get("Contents", ())}
            if not page.get("IsTruncated"):
                return sizes
            more = {"ContinuationToken": page["NextContinuationToken"]}

    async def download(self, key: str, path: Path) -> None:
        """Write an object of any size to a file. Raises ObjectNotFound."""
        await self._call("download_file", Key=key, Filename=str(path))

    async def delete(self, keys: Iterable[str]) -> None:
        """Absent keys are no error: a deletion that was cut short can be repeated."""
        await asyncio.gather(*(self._call("delete_object", Key=key) for key in keys))

    async def check(self) -> None:
        """Whether the bucket can be reached, for readiness."""
        await self._call("head_bucket")

    def download_url(self, key: str, seconds: int, *, filename: str | None = None) -> str:
        """A URL from which anyone can get the object until it expires."""
        parameters = {"Bucket": self._bucket, "Key": key}
        if filename:
            parameters["ResponseContentDisposition"] = f'inline; filename="{filename}"'
        url: str = self._signer.generate_presigned_url("get_object", Params=parameters, ExpiresIn=seconds)
        return url

    def upload_url(self, key: str, seconds: int, *, content_type: str, size: int) -> str:
        """A URL to which exactly `size` bytes of `content_type` can be PUT until it expires."""
        url: str = self._signer.generate_presigned_url(
            "put_object",
            Params={
                "Bucket": self._bucket,
                "Key": key,
                "ContentType": content_type,
                "ContentLength": size,
            },
            ExpiresIn=seconds,
        )
        return url

    async def _call(self, operation: str, **parameters: Any) -> Any:
        return await self._in_thread(self._call_now, operation, **parameters)

    async def _in_thread(self, function: Callable[..., T], *arguments: Any, **parameters: Any) -> T:
        call = partial(function, *arguments, **parameters)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _call_now(self, operation: str, **parameters: Any) -> Any:
        try:
            return getattr(self._client, operation)(Bucket=self._bucket, **parameters)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in {"NoSuchKey", "404", "NotFound"}:
                raise ObjectNotFound(parameters.get("Key", self._bucket)) from error
            raise StorageUnavailable(str(error)) from error
        except (BotoCoreError, Boto3Error) as error:
            raise StorageUnavailable(str(error)) from error


def _client(settings: Settings, endpoint_url: str | None) -> Any:
    key_id, secret = settings.s3_access_key_id, settings.s3_secret_access_key
    return boto3.client(
        "s3",
        endpoint_url=endpoint_url,
        region_name=settings.s3_region,
        aws_access_key_id=key_id.get_secret_value() if key_id else None,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        config=Config(
            signature_version="s3v4",
            # Path style wherever we name the endpoint: servers that are not Amazon rarely do host style.
            s3={"addressing_style": "path" if endpoint_url else "auto"},
            connect_timeout=3,
            read_timeout=30,
            retries={"max_attempts": 3, "mode": "standard"},
            max_pool_connections=32,
        ),
    )
