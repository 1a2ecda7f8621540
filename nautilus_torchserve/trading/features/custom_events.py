"""Data of a class of your own as market data: from memory, or from a NautilusTrader catalog."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from nautilus_trader.core.data import Data
from nautilus_trader.model.data import CustomData, DataType
from nautilus_trader.persistence.catalog import ParquetDataCatalog
from numpy.typing import NDArray

from nautilus_torchserve.market.bad_data import BadData
from nautilus_torchserve.market.trades.trades import utc_text


@dataclass(frozen=True, eq=False)
class CustomEvents:
    """Data of one class in the order of their receipt.

    Raises
    ------
    BadData
        One is of another class, not in order, or received before it happened.
    """

    data_class: type[Data]
    """Class of all of them: a subclass of NautilusTrader's ``Data``."""
    events: Sequence[Data]
    """The data."""
    source: str = "custom data"
    """Where they came from, for error messages."""

    def __post_init__(self) -> None:
        for position, event in enumerate(self.events):
            if type(event) is not self.data_class:
                raise BadData(
                    f"{self.source}: datum {position + 1}: expected a {self.data_class.__name__}, "
                    f"got a {type(event).__name__}"
                )
            if not 0 < event.ts_event <= event.ts_init:
                raise BadData(
                    f"{self.source}: datum {position + 1}: expected ts_event above 0, and ts_init, at which features "
                    f"are given it, not before that (Unix ns), got ts_event {event.ts_event}, ts_init {event.ts_init}"
                )
        backwards = np.flatnonzero(np.diff(self.ts_init) < 0)
        if len(backwards):
            row = int(backwards[0]) + 1
            raise BadData(
                f"{self.source}: datum {row + 1}: expected ts_init sorted in time, got {utc_text(self.ts_init[row])}"
            )

    @cached_property
    def ts_init(self) -> NDArray[np.int64]:
        """When each was received, Unix ns [n], non-decreasing."""
        return np.array([event.ts_init for event in self.events], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.events)

    def between(self, start: int, stop: int) -> "CustomEvents":
        """Return the data at positions ``start`` to ``stop - 1``."""
        return replace(self, events=self.events[start:stop])

    def objects(self, start: int, stop: int) -> Sequence[Data]:
        """Return those at positions ``start`` to ``stop - 1``."""
        return self.events[start:stop]

    def wrapped(self, start: int, stop: int) -> list[Data]:
        """Return the same as an engine takes them."""
        of_class = DataType(self.data_class)
        return [CustomData(of_class, event) for event in self.events[start:stop]]


def load_custom_events(data_class: type[Data], *catalogs: Path) -> CustomEvents:
    """Read all data of a class from NautilusTrader catalogs; the class has to be registered for it.

    ``@customdataclass`` does that.

    Raises
    ------
    BadData
        There are none, or they cannot be read.
    """
    stored: list[Data] = []
    for catalog in catalogs:
        try:
            stored += ParquetDataCatalog(catalog).custom_data(data_class) or []
        except Exception as error:  # of the file, or of the class's own code
            raise BadData(
                f"{catalog.name}: expected {data_class.__name__}, registered for catalogs (@customdataclass), "
                f"got unreadable data: {type(error).__name__}: {error}"
            ) from error
    names = ", ".join(catalog.name for catalog in catalogs)
    events = [event.data if isinstance(event, CustomData) else event for event in stored]
    if not events:
        raise BadData(f"{names}: expected a NautilusTrader catalog with {data_class.__name__}, got none")
    return CustomEvents(data_class, sorted(events, key=lambda event: event.ts_init), names)
