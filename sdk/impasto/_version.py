API_VERSION = "2026-11-22"
"""The version of the API that this SDK was built for, and asks for in every request."""

__version__ = "0.1.0"
