"""Checks of settings, with one form of error message."""

from nautilus_torchserve.user_error import InvalidArgument


class BadSetting(InvalidArgument):
    """An invalid setting."""


def expect(condition: bool, message: str) -> None:
    """Raise `BadSetting` unless the condition holds.

    Parameters
    ----------
    message : str
        The expectation and the value: ``"window of at least 1 trade, got 0"``.
    """
    if not condition:
        raise BadSetting(f"expected {message}")
