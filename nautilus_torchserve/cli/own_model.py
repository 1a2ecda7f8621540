"""Options about models of a user's own, by their spec."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from nautilus_torchserve.cli.app import echo
from nautilus_torchserve.cli.backtest_options import BarSources
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.bars.checks import reading_notes
from nautilus_torchserve.market.bars.load import load_bars
from nautilus_torchserve.market.quotes.load import load_quotes
from nautilus_torchserve.market.quotes.quotes import Quotes
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.models.table import spec_of
from nautilus_torchserve.trading.bars.types import parse_interval
from nautilus_torchserve.trading.features.custom_data import CustomSeries, load_custom
from nautilus_torchserve.trading.features.subscription import custom_classes, external_interval, source_kinds

Spec = Annotated[str, typer.Argument(help="Spec: package.module:NAME, or its file in model_defs/.")]
QuoteFiles = Annotated[
    list[Path] | None,
    typer.Option("--quotes", help="Quotes: files, in the order of --data; repeatable; default: implied."),
]
CustomCatalogs = Annotated[
    list[Path] | None,
    typer.Option("--custom", help="Catalog of custom data; repeatable; default: those of --data."),
]
EventCount = Annotated[int, typer.Option("--events", min=1, help="Events to simulate.")]


@dataclass(frozen=True)
class StrategyOptions:
    """Options of the strategy that trades on a model of your own: fields of `FeatureBacktestSettings`."""

    strategy: Annotated[
        str | None, typer.Option(help="Strategy: my_strategies:Name, with NameConfig beside it; default: the spec's.")
    ] = None
    changed: Annotated[
        list[str] | None, typer.Option("--set", help="Setting: FIELD=VALUE of the strategy's; repeatable.")
    ] = None
    spread_bps: Annotated[float, typer.Option(help="Assumed bid-ask spread (bps).")] = 1.0

    def settings(self) -> dict[str, Any]:
        """Return the fields of a `FeatureBacktestSettings`."""
        return {
            "strategy_path": self.strategy,
            "strategy_settings": dict(map(parse_setting, self.changed or ())),
            "spread_bps": self.spread_bps,
        }


def parse_setting(text: str) -> tuple[str, Any]:
    """Return a field's name and its value, a number or a flag where it reads as one."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise typer.BadParameter(f"expected FIELD=VALUE, got {text!r}", param_hint="--set")
    try:
        return name.strip().replace("-", "_"), json.loads(value)
    except ValueError:
        return name.strip().replace("-", "_"), value


def load_market(
    spec: str,
    sources: BarSources,
    events: int,
    seed: int,
    quotes: Sequence[Path] = (),
    custom: Sequence[Path] = (),
) -> list[Trades | Bars | Quotes | CustomSeries]:
    """Load the data that a spec's features are computed from, or simulate them, and print what was assumed.

    Parameters
    ----------
    quotes : sequence of Path
        Quotes beside the trades or bars, in the order of the instruments.
    custom : sequence of Path
        Catalogs of custom data; none: those of the market data.
    """
    features = spec_of(spec).features
    kinds, interval, read = source_kinds(features), external_interval(features), sources.files.read(sources.stamp)
    pairs = sources.by_instrument()
    loaded: list[Trades | Bars | Quotes] = []
    for path, name in pairs:
        if "bars" in kinds and interval is not None:
            read = sources.files.read(sources.stamp, sources.price_type)
            loaded.append(load_bars(path, events, seed, name, sources.bar or parse_interval(interval), read))
        elif kinds and kinds <= {"quotes", "depth"}:
            if path is None:
                needed = " and ".join(sorted(kinds))
                raise typer.BadParameter(f"expected {needed}, which {spec} takes, got none: they are not simulated")
            loaded.append(load_quotes(path, name, read))
        else:
            loaded.append(load(path, events, seed, name, read))
    if len(quotes) not in (0, len(pairs)):
        raise typer.BadParameter(f"expected as many --quotes as --data, got {len(quotes)} for {len(pairs)}")
    loaded += [load_quotes(path, name, read) for path, (_, name) in zip(quotes, pairs, strict=False)]
    for data in loaded:
        for note in data.notes if isinstance(data, Quotes) else reading_notes(data):
            echo(note)
    return [*loaded, *_load_custom(spec, custom or [data.catalog for data in loaded if data.catalog is not None])]


def _load_custom(spec: str, catalogs: Sequence[Path]) -> list[CustomSeries]:
    classes = custom_classes(spec_of(spec).features)
    if classes and not catalogs:
        names = " and ".join(data_class.__name__ for data_class in classes)
        raise typer.BadParameter(
            f"expected data of {names}, which {spec} takes, got none: name their catalog by --custom"
        )
    return [load_custom(catalogs, data_class) for data_class in classes]
