"""The options that all backtests on the command line share."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nautilus_torchserve.cli.data_options import Balance, InSample, Latency, decimal
from nautilus_torchserve.cli.options import LOCAL, Json, Report, TokenFile, Url, Version, duration, replace_parameter
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.instruments.options import InstrumentOptions


@dataclass(frozen=True)
class RunOptions:
    """What `takes_run_options` was given: the fields of `trading.backtest.settings.RunSettings`,
    and what is not one.
    """

    settings: dict[str, Any]
    """Name -> value of a setting."""
    token_file: Path | None
    """``key_file.json`` of a server that was not started by nautilus-torchserve serve."""
    latency_sweep: str | None
    """Latencies to run the backtest at, one after the other."""
    report: Path | None
    """Folder for the report."""
    as_json: bool
    """Whether to print the result as JSON."""


_SETTINGS: dict[str, tuple[Any, Any]] = {
    "url": (Url, LOCAL),
    "version": (Version, None),
    "traffic": (
        Annotated[
            str | None,
            typer.Option(help="Traffic database: its split is followed, outcomes are recorded; default: none."),
        ],
        None,
    ),
    "mode": (
        Annotated[
            Literal["inline", "prefetch"],
            typer.Option(help="Request predictions event by event, or beforehand in bulk."),
        ],
        "inline",
    ),
    "latency": (Latency, "1ms"),
    "latency_profile": (
        Annotated[
            Path | None,
            typer.Option(help="Recorded by `bench serving --record`, in place of --latency; default: none."),
        ],
        None,
    ),
    "latency_workers": (
        Annotated[
            int | None, typer.Option(min=1, help="Workers with a profile; default: as many as it was recorded from.")
        ],
        None,
    ),
    "latency_seed": (Annotated[int, typer.Option(min=0, help="Seed of the draws from a profile.")], 1),
    "max_age": (Annotated[int, duration("Oldest prediction to trade on.")], "1s"),
    "size": (Annotated[Decimal, decimal("Position: base currency, shares, contracts.")], "0.1"),
    "fee_bps": (
        Annotated[float | None, typer.Option(help="Fee on each fill (bps); default: the definition's, else 0.5.")],
        None,
    ),
    "balance": (Balance, "10000"),
    "in_sample": (InSample, False),
}
"""Option -> its kind and its default."""
_FIELDS = {
    "latency": "latency_ns",
    "max_age": "max_age_ns",
    "size": "trade_size",
    "balance": "starting_balance",
}
"""Option -> the setting that it is, where that has another name."""
_OTHERS: dict[str, tuple[Any, Any]] = {
    "token_file": (TokenFile, None),
    "latency_sweep": (
        Annotated[str | None, typer.Option(help="Run at each of 0,1,5,20,100ms, and compare P&L; default: one run.")],
        None,
    ),
    "report": (Report, None),
    "as_json": (Json, False),
}


_INSTRUMENT: dict[str, tuple[Any, Any]] = {
    "instrument_definition": (
        Annotated[
            list[str] | None,
            typer.Option(help="NautilusTrader's JSON, a catalog, or a known contract: ES, XBTUSD.BITMEX; repeatable."),
        ],
        None,
    ),
    "tick_size": (
        Annotated[Decimal | None, decimal("Smallest price change; default: the instrument's.")],
        None,
    ),
    "lot_size": (
        Annotated[Decimal | None, decimal("Smallest step of order sizes; default: the instrument's.")],
        None,
    ),
    "multiplier": (
        Annotated[Decimal | None, decimal("Units in a size of 1: 50 for ES; default: the instrument's.")],
        None,
    ),
    "inverse": (Annotated[bool, typer.Option("--inverse", help="Settled in the base currency, like XBTUSD.")], False),
    "currency": (
        Annotated[str | None, typer.Option(help="Quote currency: USD for AAPL; default: as its symbol says.")],
        None,
    ),
    "margin": (
        Annotated[Decimal | None, decimal("Margin as a share of the value; default: the instrument's.")],
        None,
    ),
}
"""Field of `InstrumentOptions` -> its kind and its default on the command line."""


def takes_instrument_options(command: Callable[..., None]) -> Callable[..., None]:
    """Make a typer command with these options in the place of its parameter ``instruments``: an `InstrumentOptions`."""
    return replace_parameter(command, "instruments", _INSTRUMENT, _instrument_options)


def _instrument_options(given: dict[str, Any]) -> InstrumentOptions:
    try:
        return InstrumentOptions(**{**given, "instrument_definition": tuple(given["instrument_definition"] or ())})
    except BadSetting as error:
        raise typer.BadParameter(str(error)) from None


def takes_run_options(latency: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a typer command with these options in the place of its first parameter ``run``: a `RunOptions`.

    Parameters
    ----------
    latency : str
        The default one.
    """

    options = {**_SETTINGS, "latency": (_SETTINGS["latency"][0], latency), **_OTHERS, **_INSTRUMENT}

    def run_options(given: dict[str, Any]) -> RunOptions:
        settings = {_FIELDS.get(name, name): given[name] for name in _SETTINGS}
        settings["instruments"] = _instrument_options({name: given[name] for name in _INSTRUMENT})
        return RunOptions(settings, **{name: given[name] for name in _OTHERS})

    return lambda command: replace_parameter(command, "run", options, run_options)
