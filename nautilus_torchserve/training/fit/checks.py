"""Conditions that the configurations of fits share."""

from nautilus_torchserve.user_error import InvalidArgument


def check_counts(config: object, *names: str) -> None:
    """Raise `InvalidArgument` where one of these fields is below 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise InvalidArgument(f"expected {name} of at least 1, got {getattr(config, name)}")


def check_positive(config: object, *names: str) -> None:
    """Raise `InvalidArgument` where one of these fields is not above 0."""
    for name in names:
        if not getattr(config, name) > 0:
            raise InvalidArgument(f"expected {name} above 0, got {getattr(config, name)}")
