"""What impastoctl tells a person and then exits with 1, instead of a traceback."""

from __future__ import annotations


class ControlError(Exception):
    """Something the operator can act on; its text is the whole message."""


class StateDirectoryInUse(ControlError):
    """Another impastoctl runs on the same state directory."""


class NotInstalled(ControlError):
    """A server's program is neither installed from its wheel nor found on PATH."""


class ChildFailed(ControlError):
    """A child process ended or never became ready; the message ends with the tail of its log."""
