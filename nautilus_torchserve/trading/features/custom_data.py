"""Data of a class of one's own, which features are computed from: a NautilusTrader catalog's, or a list of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from nautilus_trader.core.data import Data
from nautilus_trader.model.data import CustomData
from nautilus_trader.persistence.catalog import ParquetDataCatalog
from nautilus_trader.persistence.funcs import class_to_filename
from numpy.typing import NDArray

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.quotes.quotes import Quotes
from nautilus_torchserve.market.trades.trades import BadData, Trades


@dataclass(frozen=True, eq=False)
class CustomSeries:
    """Data of one class, in the order of their receipt; what their fields say about instruments is their class's own.

    Features are given each of them at its ``ts_init``, after market data of the same time.
    """

    data_class: type[Data]
    """The class, as ``custom:package.module:Class`` of `FeatureSet.data` names it."""
    data: tuple[Data, ...]
    """The data, each of them of this very class."""
    source: str
    """Where they come from, for messages."""

    def __post_init__(self) -> None:
        name = self.data_class.__name__
        for number, datum in enumerate(self.data):
            if type(datum) is not self.data_class:
                raise BadData(f"{self.source}: expected data of {name}, got {type(datum).__name__} at {number}")
            if not 0 < datum.ts_event <= datum.ts_init:
                raise BadData(
                    f"{self.source}: expected ts_event above 0, and ts_init, at which features are given the datum, "
                    f"not before it (Unix ns), got ts_event {datum.ts_event} and ts_init {datum.ts_init} at {number}"
                )
        object.__setattr__(self, "data", tuple(sorted(self.data, key=lambda datum: datum.ts_init)))

    def __len__(self) -> int:
        return len(self.data)

    @property
    def ts_init(self) -> NDArray[np.int64]:
        """When each is received, Unix ns [n]."""
        return np.fromiter((datum.ts_init for datum in self.data), dtype=np.int64, count=len(self.data))

    def received_between(self, first_ns: int, last_ns: int) -> Self:
        """Return what was received in a time, both ends included (Unix ns)."""
        times = self.ts_init
        kept = slice(np.searchsorted(times, first_ns), np.searchsorted(times, last_ns, side="right"))
        return replace(self, data=self.data[kept])


def split_custom(
    data: Sequence[Trades | Bars | Quotes | CustomSeries],
) -> tuple[list[Trades | Bars | Quotes], list[CustomSeries]]:
    """Return market data and custom data, each in their order; refuse several series of one class."""
    custom = [item for item in data if isinstance(item, CustomSeries)]
    names = [item.data_class.__name__ for item in custom]
    if len({item.data_class for item in custom}) < len(custom):
        raise BadData(f"expected custom data of different classes, got {', '.join(names)}")
    return [item for item in data if not isinstance(item, CustomSeries)], custom


def load_custom(paths: Iterable[Path], data_class: type[Data]) -> CustomSeries:
    """Read all data of a class from NautilusTrader catalogs, which ``ParquetDataCatalog.write_data`` has written.

    Raises
    ------
    BadData
        There are none, they cannot be read as this class, or are received before they happen.
    """
    catalogs = list(dict.fromkeys(paths))
    folder, data = f"data/{class_to_filename(data_class)}", []
    for path in catalogs:
        if not any((path / folder).rglob("*.parquet")):
            continue
        try:
            stored = ParquetDataCatalog(str(path.absolute())).custom_data(cls=data_class)
            data += [datum.data if isinstance(datum, CustomData) else datum for datum in stored]
        except Exception as error:  # of the class's own code, or of the file
            raise BadData(
                f"{path.name}/{folder}: cannot be read as {data_class.__module__}:{data_class.__name__}: "
                f"{type(error).__name__}: {error}"
            ) from error
    names = ", ".join(path.name for path in catalogs)
    if not data:
        raise BadData(
            f"{names}: expected a NautilusTrader catalog with data of {data_class.__name__} ({folder}), got none"
        )
    return CustomSeries(data_class, tuple(data), f"{names} ({data_class.__name__})")
