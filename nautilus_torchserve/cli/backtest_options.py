"""The options that all backtests on the command line share."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nautilus_torchserve.cli.app import parsed
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.durations import parse_duration, parse_latency
from nautilus_torchserve.trading.instruments.options import InstrumentOptions


def parse_decimal(text: str) -> Decimal:
    """Return the number that a text has; raise `BadSetting` for any other text."""
    try:
        return Decimal(text)
    except InvalidOperation:
        raise BadSetting(f"expected a number, got {text!r}") from None


@dataclass(frozen=True)
class RunOptions:
    """What `takes_run_options` was given: the fields of `trading.backtest.settings.RunSettings`,
    and what is not one.
    """

    settings: dict[str, Any]
    """Name -> value of a setting."""
    token_file: Path | None
    """``key_file.json`` of a server that was not started by scripts/serve.py."""
    latency_sweep: str | None
    """Latencies to run the backtest at, one after the other."""
    report: Path | None
    """Folder for the report."""
    as_json: bool
    """Whether to print the result as JSON."""


BALANCE = Annotated[
    Decimal,
    typer.Option(parser=parsed(parse_decimal), help="Account at the start, in the instrument's settlement currency."),
]
"""The option ``--balance``."""
_SETTINGS: dict[str, tuple[Any, Any]] = {
    "url": (Annotated[str, typer.Option(help="Inference port, or mar:PATH of an archive.")], "http://127.0.0.1:8080"),
    "version": (Annotated[str | None, typer.Option(help="Left out: the server's default one.")], None),
    "traffic": (
        Annotated[str | None, typer.Option(help="SQLAlchemy URL: follow its split, keep what comes of it.")],
        None,
    ),
    "mode": (
        Annotated[Literal["inline", "prefetch"], typer.Option(help="Ask event by event, or beforehand in bulk.")],
        "inline",
    ),
    "latency": (
        Annotated[int, typer.Option(parser=parsed(parse_latency), help="From event to order: 500us, 1ms; 0 if asked.")],
        "1ms",
    ),
    "latency_profile": (
        Annotated[Path | None, typer.Option(help="Recorded by bench_serving.py --record; in place of --latency.")],
        None,
    ),
    "latency_workers": (
        Annotated[int | None, typer.Option(min=1, help="With a profile; left out: as many as it was recorded from.")],
        None,
    ),
    "latency_seed": (Annotated[int, typer.Option(min=0, help="With a profile: of its draws.")], 1),
    "max_age": (
        Annotated[int, typer.Option(parser=parsed(parse_duration), help="Oldest prediction to trade on.")],
        "1s",
    ),
    "size": (
        Annotated[
            Decimal, typer.Option(parser=parsed(parse_decimal), help="Position: base currency, shares, contracts.")
        ],
        "0.1",
    ),
    "fee_bps": (
        Annotated[float | None, typer.Option(help="Fee on each fill (bps); default: the definition's, else 0.5.")],
        None,
    ),
    "balance": (BALANCE, "10000"),
    "in_sample": (Annotated[bool, typer.Option("--in-sample", help="Run on what the fit saw, too.")], False),
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
    "token_file": (
        Annotated[Path | None, typer.Option(help="key_file.json of a server not started by serve.py.")],
        None,
    ),
    "latency_sweep": (
        Annotated[str | None, typer.Option(help="0,1,5,20,100ms: a run at each, and P&L against latency.")],
        None,
    ),
    "report": (Annotated[Path | None, typer.Option(help="Folder for the report.")], None),
    "as_json": (Annotated[bool, typer.Option("--json", help="Print the result as JSON.")], False),
}


_INSTRUMENT: dict[str, tuple[Any, Any]] = {
    "instrument_definition": (
        Annotated[
            list[str] | None,
            typer.Option(help="NautilusTrader's JSON, a catalog, or a known contract: ES, XBTUSD.BITMEX."),
        ],
        None,
    ),
    "tick_size": (
        Annotated[Decimal | None, typer.Option(parser=parsed(parse_decimal), help="Smallest price change.")],
        None,
    ),
    "lot_size": (
        Annotated[Decimal | None, typer.Option(parser=parsed(parse_decimal), help="Smallest step of order sizes.")],
        None,
    ),
    "multiplier": (
        Annotated[Decimal | None, typer.Option(parser=parsed(parse_decimal), help="Units in a size of 1: 50 for ES.")],
        None,
    ),
    "inverse": (Annotated[bool, typer.Option("--inverse", help="Settled in the base currency, like XBTUSD.")], False),
    "currency": (
        Annotated[str | None, typer.Option(help="Quoted in, where symbols do not say: USD for AAPL.")],
        None,
    ),
    "margin": (
        Annotated[Decimal | None, typer.Option(parser=parsed(parse_decimal), help="Margin as a share of the value.")],
        None,
    ),
}
"""Field of `InstrumentOptions` -> its kind and its default on the command line."""


def takes_instrument_options(command: Callable[..., None]) -> Callable[..., None]:
    """Make a typer command with these options in the place of its parameter ``instruments``: an `InstrumentOptions`."""
    return _with_options(command, "instruments", _INSTRUMENT, _instrument_options)


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

    return lambda command: _with_options(command, "run", options, run_options)


def _with_options(
    command: Callable[..., None],
    parameter: str,
    options: dict[str, tuple[Any, Any]],
    make: Callable[[dict[str, Any]], Any],
) -> Callable[..., None]:
    """The command with options in the place of one of its parameters, which is made of their values."""

    @functools.wraps(command)
    def with_options(**given: Any) -> None:
        made = make({name: given.pop(name) for name in options})
        command(**{parameter: made}, **given)

    own = [each for name, each in inspect.signature(command).parameters.items() if name != parameter]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
        for name, (annotation, default) in options.items()
    ]
    keyword = [*(each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own), *added]
    with_options.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
    with_options.__annotations__ = {each.name: each.annotation for each in keyword}
    return with_options
