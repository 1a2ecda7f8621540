"""Options about models of a user's own, by their spec."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from nautilus_torchserve.cli.backtest_options import BarSources
from nautilus_torchserve.cli.market_data import print_reading_notes
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.bars.load import load_bars
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.models.table import spec_of
from nautilus_torchserve.trading.bars.types import parse_interval
from nautilus_torchserve.trading.features.subscription import external_interval, source_kinds

Spec = Annotated[str, typer.Argument(help="Spec: package.module:NAME, or its file in model_defs/.")]
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
    spread_bps: Annotated[float, typer.Option(help="Bid to ask around bars, assumed (bps).")] = 1.0

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


def load_market(spec: str, sources: BarSources, events: int, seed: int) -> Sequence[Trades | Bars]:
    """Load the data that a spec's features are computed from, or simulate them, and print what was assumed."""
    features = spec_of(spec).features
    read = ReadOptions(sources.stamp, sources.timezone, sources.allow_jumps)
    interval = external_interval(features)
    loaded: list[Trades | Bars]
    if "bars" in source_kinds(features) and interval is not None:
        interval_ns = sources.bar or parse_interval(interval)
        loaded = [load_bars(path, events, seed, name, interval_ns, read) for path, name in sources.files()]
    else:
        loaded = [load(path, events, seed, name, read) for path, name in sources.files()]
    print_reading_notes(loaded)
    return loaded
