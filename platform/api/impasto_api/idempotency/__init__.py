"""Idempotency-Key (IETF draft-ietf-httpapi-idempotency-key-header): a retry gets the first try's answer."""
