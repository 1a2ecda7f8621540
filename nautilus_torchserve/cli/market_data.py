"""Market data that commands read: groups of options that load it, simulated where no data are named."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nautilus_torchserve.cli.app import echo
from nautilus_torchserve.cli.data_options import (
    AllowJumps,
    BarInterval,
    BarsData,
    DateOrder,
    DecimalMark,
    Instrument,
    LayoutName,
    PriceType,
    Stamp,
    Timezone,
    TradesData,
)
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.bars.checks import reading_notes
from nautilus_torchserve.market.bars.load import load_bars
from nautilus_torchserve.market.news.headlines import Headline
from nautilus_torchserve.market.news.load import load_news_bars
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import Trades


@dataclass(frozen=True)
class FileOptions:
    """Options of what files leave open."""

    timezone: Timezone = None
    date_order: DateOrder = None
    decimal: DecimalMark = None
    layout: LayoutName = None
    allow_jumps: AllowJumps = False

    def read(self, stamp: str = "open", price_type: str | None = None) -> ReadOptions:
        """Return them as `market` takes them."""
        return ReadOptions(
            stamp, self.timezone, self.allow_jumps, self.layout, self.date_order, self.decimal, price_type
        )


AS_WRITTEN = FileOptions()
"""Files that say everything themselves."""


@dataclass(frozen=True)
class TradeSource:
    """Options of the trades of one instrument."""

    data: TradesData = None
    instrument: Instrument = None
    files: FileOptions = AS_WRITTEN

    def load(self, trades: int, seed: int) -> Trades:
        """Load the trades, or simulate so many, and print what was assumed or let through."""
        loaded = load(self.data, trades, seed, self.instrument, self.files.read())
        print_reading_notes([loaded])
        return loaded


@dataclass(frozen=True)
class BarSource:
    """Options of the bars of one instrument."""

    data: BarsData = None
    instrument: Instrument = None
    bar: BarInterval = None
    stamp: Stamp = "open"
    price_type: PriceType = None
    files: FileOptions = AS_WRITTEN

    def load(self, bars: int, seed: int) -> Bars:
        """Load the bars, or simulate so many."""
        return load_bars(self.data, bars, seed, self.instrument, self.bar, self._read_options())

    def load_with_news(
        self, news: Path | None, delay_ns: int | None, bars: int, seed: int
    ) -> tuple[Bars, list[Headline]]:
        """Load the bars and the headlines on them, or simulate both."""
        read = self._read_options()
        return load_news_bars(self.data, news, bars, seed, self.instrument, self.bar, read, delay_ns)

    def _read_options(self) -> ReadOptions:
        return self.files.read(self.stamp, self.price_type)


def print_reading_notes(loaded: Iterable[Trades | Bars]) -> None:
    """Print what was assumed, altered or let through in reading, each sentence once."""
    for note in dict.fromkeys(note for data in loaded for note in reading_notes(data)):
        echo(note)
