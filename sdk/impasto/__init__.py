"""The Python SDK of Impasto."""
