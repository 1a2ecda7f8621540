"""A split of a model's traffic between the version that serves and a challenger.

TorchServe has no split of its own: the trading side chooses the versioned route (`traffic.router`) by the running
split, and the release side writes it (canary, experiment, shadow).
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

DAY_NS = 86_400_000_000_000


class Kind(StrEnum):
    """Purpose of a split."""

    CANARY = "canary"
    """The challenger's share grows in steps while gates hold."""
    EXPERIMENT = "experiment"
    """Both are measured against each other at a fixed share."""
    SHADOW = "shadow"
    """The baseline answers everything; the challenger gets copies, and its answers are only recorded."""


class Unit(StrEnum):
    """Unit that is assigned to one version or the other as a whole."""

    INSTRUMENT = "instrument"
    """An instrument keeps its version."""
    TIME = "time"
    """All instruments change together, from slice to slice of time: for desks with few instruments."""


class State(StrEnum):
    """State of a split."""

    RUNNING = "running"
    PROMOTED = "promoted"
    """Ended: the challenger took everything and is the server's default version."""
    WITHDRAWN = "withdrawn"
    """Ended: the challenger failed, and gets no more requests, positions or not."""
    STOPPED = "stopped"
    """Ended without a verdict: the baseline serves on."""


@dataclass(frozen=True)
class Split:
    """One split; of a model at most one is running."""

    name: str
    """Unique; also the salt of the assignment, so that another split begins with other instruments."""
    model: str
    """The registered model."""
    kind: Kind
    """Its purpose."""
    baseline: str
    """The version that serves."""
    challenger: str
    """The version on trial."""
    share: float
    """Share of the units that the challenger gets; of a shadow, of the calls that are copied. In [0, 1]."""
    unit: Unit = Unit.INSTRUMENT
    """Unit that is assigned as a whole."""
    slice_ns: int = DAY_NS
    """Length of a time slice, nanoseconds; not used for instruments."""
    state: State = State.RUNNING
    """Its state."""
    created_ns: int = 0
    """Unix nanoseconds."""
    updated_ns: int = 0
    """Time of the last change of share or state, Unix nanoseconds."""
    settings: str = "{}"
    """JSON of its creator: an experiment's decision rules."""

    def version_for(self, instrument_id: str, ts_ns: int) -> str:
        """Return the version that an event of an instrument belongs to, positions aside.

        A larger share only moves units from the baseline to the challenger, never back. A shadow's challenger gets
        copies only.
        """
        if self.kind is Kind.SHADOW:
            return self.baseline
        unit = instrument_id if self.unit is Unit.INSTRUMENT else str(ts_ns // self.slice_ns)
        return self.challenger if fraction(self.name, unit) < self.share else self.baseline


def fraction(salt: str, unit: str) -> float:
    """Return the place of a unit in [0, 1), uniform and the same on every host: 53 bits of SHA-256."""
    return (int.from_bytes(hashlib.sha256(f"{salt}\n{unit}".encode()).digest()[:8]) >> 11) / (1 << 53)
