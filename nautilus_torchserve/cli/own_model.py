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
from nautilus_torchserve.market.data_files import is_catalog
from nautilus_torchserve.market.quotes.load import load_quotes
from nautilus_torchserve.market.quotes.quotes import Quotes
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.models.table import spec_of
from nautilus_torchserve.trading.bars.types import parse_interval
from nautilus_torchserve.trading.features.custom_events import CustomEvents, load_custom_events
from nautilus_torchserve.trading.features.subscription import Events, custom_classes, external_interval, source_kinds

Spec = Annotated[str, typer.Argument(help="Spec: package.module:NAME, or its file in model_defs/.")]
QuoteFiles = Annotated[
    list[Path] | None,
    typer.Option("--quotes", help="Quotes: files, in the order of --data; repeatable; default: implied."),
]
CustomCatalog = Annotated[
    Path | None,
    typer.Option("--custom", help="Catalog with the custom data that SPEC names; default: that of --data."),
]
EventCount = Annotated[int, typer.Option("--events", min=1, help="Events to simulate.")]


_PYTHON = {"True": True, "False": False, "None": None}
"""What JSON writes otherwise."""


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
    field = name.strip().replace("-", "_")
    if value in _PYTHON:
        return field, _PYTHON[value]
    try:
        return field, json.loads(value)
    except ValueError:
        return field, value


def load_market(
    spec: str, sources: BarSources, events: int, seed: int, quotes: Sequence[Path] = (), custom: Path | None = None
) -> list[Events]:
    """Load the data that a spec's features are computed from, or simulate them, and print what was assumed.

    Parameters
    ----------
    quotes : sequence of Path
        Quotes beside the trades or bars, in the order of the instruments.
    custom : Path, optional
        Catalog of the data of one's own classes; default: that of ``--data``.
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
    return [*loaded, *_custom_events(spec, custom, [path for path, _ in pairs])]


def _custom_events(spec: str, custom: Path | None, paths: Sequence[Path | None]) -> list[CustomEvents]:
    """Load the data of one's own classes that a spec names."""
    classes = custom_classes(spec_of(spec).features)
    catalogs = [custom] if custom else [path for path in dict.fromkeys(paths) if path is not None and is_catalog(path)]
    if classes and not catalogs:
        named = ", ".join(data_class.__name__ for data_class in classes)
        raise typer.BadParameter(
            f"expected --custom, a NautilusTrader catalog with {named}, which {spec} takes, got none"
        )
    return [load_custom_events(data_class, *catalogs) for data_class in classes]
