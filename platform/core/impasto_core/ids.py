"""Identifiers: UUIDv7 in the database, TypeIDs outside.

A TypeID (https://github.com/jetify-com/typeid, specification 0.3) is a prefix, an underscore and the
UUID as 26 characters of Crockford base32. UUIDv7 begins with the time, so ids sort by creation and
are a sufficient pagination key.
"""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema
from uuid_utils.compat import uuid7

__all__ = [
    "ApiKeyId",
    "CreditEntryId",
    "CreditGrantId",
    "ImageId",
    "JobId",
    "OrganizationId",
    "SpendAlertId",
    "SpendCapId",
    "UploadId",
    "WebhookDeliveryId",
    "WebhookEndpointId",
    "WebhookEventId",
    "format_id",
    "new_id",
    "parse_id",
]

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {character: value for value, character in enumerate(_ALPHABET)}
_LENGTH = 26


def new_id() -> UUID:
    return uuid7()


def format_id(prefix: str, value: UUID) -> str:
    number = value.int
    return prefix + "_" + "".join(_ALPHABET[(number >> 5 * place) & 31] for place in reversed(range(_LENGTH)))


def parse_id(prefix: str, text: str) -> UUID:
    """The UUID behind a public id. Raises ValueError for another prefix or a malformed suffix."""
    found, _, suffix = text.rpartition("_")
    if found != prefix or len(suffix) != _LENGTH or not _VALUES.keys() >= set(suffix) or suffix[0] > "7":
        raise ValueError(f"expected an id like {format_id(prefix, UUID(int=0))}")
    number = 0
    for character in suffix:
        number = number << 5 | _VALUES[character]
    return UUID(int=number)


def _public(prefix: str) -> tuple[BeforeValidator, PlainSerializer, WithJsonSchema]:
    def parse(value: object) -> object:
        return parse_id(prefix, value) if isinstance(value, str) else value

    def serialize(value: UUID) -> str:
        return format_id(prefix, value)

    schema = {
        "type": "string",
        "pattern": f"^{prefix}_[0-7][{_ALPHABET}]{{25}}$",
        "examples": [format_id(prefix, UUID("01932c07-a0f1-7a3e-8f5b-6c1de2a4b9c0"))],
    }
    return BeforeValidator(parse), PlainSerializer(serialize, return_type=str), WithJsonSchema(schema)


OrganizationId = Annotated[UUID, *_public("org")]
ApiKeyId = Annotated[UUID, *_public("key")]
JobId = Annotated[UUID, *_public("job")]
ImageId = Annotated[UUID, *_public("img")]
UploadId = Annotated[UUID, *_public("upl")]
CreditGrantId = Annotated[UUID, *_public("grant")]
CreditEntryId = Annotated[UUID, *_public("entry")]
SpendCapId = Annotated[UUID, *_public("cap")]
SpendAlertId = Annotated[UUID, *_public("alert")]
WebhookEndpointId = Annotated[UUID, *_public("whe")]
WebhookEventId = Annotated[UUID, *_public("evt")]
WebhookDeliveryId = Annotated[UUID, *_public("whd")]
