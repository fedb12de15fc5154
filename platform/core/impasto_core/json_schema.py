"""JSON Schema 2020-12, by jsonschema-rs: 4 MB, which a process loads with its first schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator


def validator(schema: Mapping[str, Any]) -> Draft202012Validator:
    """Raises ValueError where it is no schema."""
    from jsonschema_rs import Draft202012Validator

    return Draft202012Validator(dict(schema), validate_formats=False)
