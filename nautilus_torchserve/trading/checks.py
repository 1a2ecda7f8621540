"""Checks of settings, with one form of message."""

from nautilus_torchserve.user_error import InvalidArgument


class BadSetting(InvalidArgument):
    """A setting that makes no sense."""


def expect(condition: bool, message: str) -> None:
    """Raise `BadSetting` unless the condition holds.

    Parameters
    ----------
    message : str
        The expectation and the value: ``"window of at least 1 trade, was 0"``.
    """
    if not condition:
        expectation, _, value = message.rpartition(", was ")
        raise BadSetting(f"expected {expectation}, got {value}")
