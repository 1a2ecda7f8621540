"""What became of the headlines about an instrument."""

from dataclasses import dataclass


@dataclass(frozen=True)
class NewsCounts:
    """Of one instrument, in one run."""

    headlines: int
    """Received."""
    unread: int
    """Those of them that the model could not read: predictions were made without them."""
    last_refusal: str
    """What the model said of the last of these; empty where there is none."""
