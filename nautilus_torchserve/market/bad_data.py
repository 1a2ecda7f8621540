"""The error about market data."""

from nautilus_torchserve.user_error import UserError


class BadData(UserError, ValueError):
    """Invalid market data; names the file, the place and what was expected."""
