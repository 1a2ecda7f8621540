"""Refusing settings that make no sense, in one form of words."""

from nautilus_torchserve.user_error import InvalidArgument


class BadSetting(InvalidArgument):
    """A setting that makes no sense; says what was expected and what it was."""


def expect(condition: bool, expected_and_was: str) -> None:
    """Raise `BadSetting` unless the condition holds.

    Parameters
    ----------
    expected_and_was : str
        ``"window of at least 1 trade, was 0"``.
    """
    if not condition:
        name, comma, was = expected_and_was.rpartition(", was ")
        raise BadSetting(f"{name} expected{comma}{was}")
