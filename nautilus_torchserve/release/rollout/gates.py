"""Why a version must not serve."""

from nautilus_torchserve.user_error import UserError


class GateFailed(UserError):
    """A version did not hold what it is held to; says what was expected and what was."""
