"""Why a version must not serve."""


class GateFailed(RuntimeError):
    """A version did not hold what it is held to; says what was expected and what was."""
