"""Idempotency records: the answer a key was given, kept for a day."""
