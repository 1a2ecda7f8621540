"""Groups of options that commands with backtests share."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nautilus_torchserve.cli.app import echo, parsed
from nautilus_torchserve.cli.data_options import PriceType, Stamp, bar_length
from nautilus_torchserve.cli.market_data import AS_WRITTEN, BarSource, FileOptions, TradeSource, print_reading_notes
from nautilus_torchserve.cli.options import LOCAL, Json, Report, RequireSignature, TokenFile, Url, Version, duration
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.news.headlines import Headline
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.trading.backtest.settings import RunSettings
from nautilus_torchserve.trading.backtest.tick.market import TradesAndQuotes, with_quotes
from nautilus_torchserve.trading.bars.types import parse_interval
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.durations import parse_latency
from nautilus_torchserve.trading.instruments.options import InstrumentOptions


def parse_decimal(text: str) -> Decimal:
    """Return the number that a text has; raise `BadSetting` for any other text."""
    try:
        return Decimal(text)
    except InvalidOperation:
        raise BadSetting(f"expected a number, got {text!r}") from None


def decimal(help_text: str, *names: str) -> Any:
    """Return an option of an exact number."""
    return typer.Option(*names, parser=parsed(parse_decimal), metavar="NUMBER", help=help_text)


@dataclass(frozen=True)
class QuotedTradeSource(TradeSource):
    """Options of the trades of one instrument, and of the venue's quotes."""

    quotes: Annotated[
        Path | None, typer.Option(help="Quotes: files, or a catalog; default: those of --data's catalog, else implied.")
    ] = None

    def load_with_quotes(self, trades: int, seed: int) -> Trades | TradesAndQuotes:
        """Load trades and quotes, or simulate so many trades, and print what was assumed or left out."""
        loaded = self.load(trades, seed)
        data = with_quotes(loaded, self.quotes)
        if isinstance(data, TradesAndQuotes):
            for note in (*data.trades.notes[len(loaded.notes) :], *data.quotes.notes):
                echo(note)
        return data


@dataclass(frozen=True)
class BarSources:
    """Options of the bars of one or several instruments, in intervals that NautilusTrader supports."""

    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="Data to read: file, archive, folder or glob of bars, or a catalog; repeatable; default: simulated."
        ),
    ] = None
    instrument: Annotated[
        list[str] | None,
        typer.Option(help="Instrument (of a catalog, or of each CSV in the order of --data); repeatable."),
    ] = None
    bar: Annotated[int | None, bar_length(parse_interval)] = None
    stamp: Stamp = "open"
    price_type: PriceType = None
    files: FileOptions = AS_WRITTEN

    def load(self, bars: int, seed: int) -> list[Bars]:
        """Load the bars, or simulate so many, and print what was assumed or let through."""
        loaded = [source.load(bars, seed) for source in self._sources()]
        print_reading_notes(loaded)
        return loaded

    def load_with_news(
        self, news: Path | None, delay_ns: int | None, bars: int, seed: int
    ) -> tuple[list[Bars], list[Headline]]:
        """Load the bars and the headlines on them, or simulate both."""
        loaded, headlines = [], {}  # a headline on several instruments is loaded with each of them
        for source in self._sources():
            of_instrument, mentioned = source.load_with_news(news, delay_ns, bars, seed)
            loaded.append(of_instrument)
            headlines.update(dict.fromkeys(mentioned))
        print_reading_notes(loaded)
        return loaded, list(headlines)

    def by_instrument(self) -> list[tuple[Path | None, str | None]]:
        """Return each instrument's file and name; of one catalog, several instruments may be named."""
        paths: list[Path | None] = [*self.data] if self.data else [None]
        names: list[str | None] = [*self.instrument] if self.instrument else [None] * len(paths)
        if len(paths) == 1:
            paths *= len(names)
        if len(paths) != len(names):
            raise typer.BadParameter(f"expected as many --instrument as --data, got {len(names)} for {len(paths)}")
        return list(zip(paths, names, strict=True))

    def _sources(self) -> Iterator[BarSource]:
        for path, name in self.by_instrument():
            yield BarSource(path, name, self.bar, self.stamp, self.price_type, self.files)


@dataclass(frozen=True)
class InstrumentFlags:
    """Options that are the fields of an `InstrumentOptions`."""

    instrument_definition: Annotated[
        list[str] | None,
        typer.Option(
            help="Instrument definition: JSON, a catalog, or a known contract (ES, XBTUSD.BITMEX); repeatable."
        ),
    ] = None
    tick_size: Annotated[Decimal | None, decimal("Minimum price increment; default: the instrument's.")] = None
    lot_size: Annotated[Decimal | None, decimal("Order size increment; default: the instrument's.")] = None
    multiplier: Annotated[Decimal | None, decimal("Contract multiplier (50 for ES); default: the instrument's.")] = None
    inverse: Annotated[
        bool, typer.Option("--inverse", help="Inverse contract, settled in the base currency like XBTUSD.")
    ] = False
    currency: Annotated[str | None, typer.Option(help="Quote currency (USD for AAPL); default: by symbol.")] = None
    margin: Annotated[
        Decimal | None, decimal("Margin as a share of the notional value; default: the instrument's.")
    ] = None

    def options(self) -> InstrumentOptions:
        """Return the same for the library."""
        return InstrumentOptions(**{**vars(self), "instrument_definition": tuple(self.instrument_definition or ())})


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Options of every backtest and sweep."""

    url: Url = LOCAL
    require_signature: RequireSignature = False
    version: Version = None
    token_file: TokenFile = None
    starting_balance: Annotated[Decimal, decimal("Starting balance in the settlement currency.", "--balance")] = "10000"  # type: ignore[assignment]
    funding: Annotated[
        Path | None, typer.Option(help="Funding rates of perpetuals: CSV files; default: funding is not charged.")
    ] = None
    borrow: Annotated[
        str | None,
        typer.Option(help="Annual cost of borrowing what is sold short: 0.03, or CSV files; default: not charged."),
    ] = None
    in_sample: Annotated[bool, typer.Option("--in-sample", help="Allow data that the model was fitted on.")] = False
    instruments: InstrumentFlags

    def settings(self) -> dict[str, Any]:
        """Return the options that are fields of a `RunSettings`."""
        names = {field.name for field in fields(RunSettings)}
        values = {name: value for name, value in vars(self).items() if name in names}
        return {**values, "instruments": self.instruments.options()}


Latency = Annotated[int, duration("Latency from event to order (500us, 1ms or 0).", "--latency", parse=parse_latency)]


@dataclass(frozen=True, kw_only=True)
class RunOptions(EngineOptions):
    """Options of every backtest."""

    traffic: Annotated[
        str | None,
        typer.Option(help="Traffic database whose split is followed and where outcomes are recorded; default: none."),
    ] = None
    mode: Annotated[
        Literal["inline", "prefetch"], typer.Option(help="Request predictions event by event, or in bulk beforehand.")
    ] = "inline"
    latency_ns: Latency = "1ms"  # type: ignore[assignment]
    latency_profile: Annotated[
        Path | None,
        typer.Option(help="Latency profile of `bench serving --record`, instead of --latency; default: none."),
    ] = None
    latency_workers: Annotated[int | None, typer.Option(min=1, help="Workers of a profile; default: as recorded.")] = (
        None
    )
    latency_seed: Annotated[int, typer.Option(min=0, help="Random seed of the draws from a profile.")] = 1
    max_age_ns: Annotated[int, duration("Maximum age of a prediction to trade on.", "--max-age")] = "1s"  # type: ignore[assignment]
    trade_size: Annotated[Decimal, decimal("Position size (base currency, shares or contracts).", "--size")] = "0.1"  # type: ignore[assignment]
    fee_bps: Annotated[float | None, typer.Option(help="Fee per fill (bps); default: the instrument's, else 0.5.")] = (
        None
    )
    latency_sweep: Annotated[
        str | None, typer.Option(help="Latencies to compare the P&L of, such as 0,1,5,20,100ms; default: a single run.")
    ] = None
    report: Report = None
    as_json: Json = False


@dataclass(frozen=True, kw_only=True)
class BarRunOptions(RunOptions):
    """The same for models of bars."""

    latency_ns: Latency = "10ms"  # type: ignore[assignment]
