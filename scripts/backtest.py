"""Backtest a strategy on a served model: ``python scripts/backtest.py tick --url http://127.0.0.1:8080``."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from market.bar_source import load_bars
from market.news_source import load_news_bars
from market.source import load
from market.trades import BadData
from serving.archive_import import UnreadableArchive
from serving.tokens import NoToken
from strategies.backtest import run_backtest
from strategies.bar_backtest import run_bar_backtest
from strategies.bar_report import summary as bar_summary
from strategies.bar_report import write_bar_reports
from strategies.bar_settings import BarBacktestSettings
from strategies.bar_types import parse_interval
from strategies.checks import BadSetting
from strategies.console import result_table
from strategies.durations import parse_duration
from strategies.news_backtest import run_news_backtest
from strategies.news_settings import NewsBacktestSettings
from strategies.report import summary, write_tick_report
from strategies.server_token import provide_token
from strategies.settings import BacktestSettings
from traffic.store import StoreFailed
from wire.errors import RequestError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)
console = Console(stderr=True)


def parsed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """The parser as typer wants it: a bad text is a wrong call."""

    def parser(text: str) -> Any:
        try:
            return parse(text)
        except BadSetting as error:
            raise typer.BadParameter(str(error)) from None
        except InvalidOperation:
            raise typer.BadParameter(f"a number expected, was {text!r}") from None

    return parser


Url = Annotated[str, typer.Option(help="Inference port, or mar:PATH of an archive.")]
Version = Annotated[str | None, typer.Option(help="Left out: the server's default one.")]
Model = Annotated[str, typer.Option(help="The registered name.")]
TokenFile = Annotated[Path | None, typer.Option(help="key_file.json of a server not started by serve.py.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the simulation.")]
Latency = Annotated[int, typer.Option(parser=parsed(parse_duration), help="From event to order: 500us, 1ms.")]
MaxAge = Annotated[int, typer.Option(parser=parsed(parse_duration), help="Oldest prediction to trade on.")]
Interval = Annotated[
    int | None, typer.Option(parser=parsed(parse_interval), help="1-MINUTE, 4-HOUR, 1-DAY; left out: as they are.")
]
Horizon = Annotated[
    int | None, typer.Option(parser=parsed(parse_duration), help="How long a signal holds; left out: the model's.")
]
Size = Annotated[Decimal, typer.Option(parser=parsed(Decimal), help="Position, in base currency.")]
Fee = Annotated[float, typer.Option(help="Fee on each fill (bps).")]
InSample = Annotated[bool, typer.Option("--in-sample", help="Run on what the fit saw, too.")]
BarFiles = Annotated[list[Path] | None, typer.Option(help="CSV of bars or catalog; repeat for several.")]
Names = Annotated[list[str] | None, typer.Option(help="BTC-PERP.DERIBIT; in the order of --data.")]
Currency = Annotated[str | None, typer.Option(help="Quoted in, where symbols do not say: USD for AAPL.")]
Stamp = Annotated[Literal["open", "close"], typer.Option(help="Which end of its bar a CSV's time is.")]
Count = Annotated[int, typer.Option(min=1, help="Bars to simulate.")]
NewsFile = Annotated[Path | None, typer.Option(help="CSV or JSONL of headlines; with --data.")]
NewsDelay = Annotated[
    int | None, typer.Option(parser=parsed(parse_duration), help="Publication to receipt, where --news does not say.")
]
Confidence = Annotated[float, typer.Option(help="Of the return's sign, to act on.")]
Cost = Annotated[float | None, typer.Option(help="Least return to act on; left out: fees and spread.")]
Spread = Annotated[float, typer.Option(help="Bid to ask, assumed (bps).")]
Traffic = Annotated[str | None, typer.Option(help="SQLAlchemy URL: follow its split, keep what comes of it.")]
Report = Annotated[Path | None, typer.Option(help="Folder for the report.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.callback()
def backtest() -> None:
    """Backtest a strategy on a served model."""


@app.command()
def tick(
    url: Url = "http://127.0.0.1:8080",
    data: Annotated[Path | None, typer.Option(help="CSV of trades or catalog folder; left out: simulated.")] = None,
    instrument: Annotated[str | None, typer.Option(help="Instrument of a catalog: BTCUSDT.BINANCE.")] = None,
    trades: Annotated[int, typer.Option(min=1, help="Trades to simulate.")] = 60_000,
    seed: Seed = 1,
    model: Model = "tick",
    version: Version = None,
    traffic: Traffic = None,
    token_file: TokenFile = None,
    latency: Latency = "1ms",  # type: ignore[assignment]
    max_age: MaxAge = "1s",  # type: ignore[assignment]
    cooldown: Annotated[int, typer.Option(parser=parsed(parse_duration), help="Least time between orders.")] = "1s",  # type: ignore[assignment]
    size: Size = "0.1",  # type: ignore[assignment]
    min_probability: Annotated[float, typer.Option(help="Of BUY or SELL, to act on.")] = 0.45,
    fee_bps: Fee = 0.5,
    in_sample: InSample = False,
    report: Report = None,
    as_json: AsJson = False,
) -> None:
    """Long on BUY, short on SELL, as the tick model says trade by trade."""
    refuse_report(traffic, report)
    with errors_told():
        settings = BacktestSettings(
            url=url,
            model=model,
            version=version,
            traffic=traffic,
            latency_ns=latency,
            max_age_ns=max_age,
            cooldown_ns=cooldown,
            trade_size=size,
            min_probability=min_probability,
            fee_bps=fee_bps,
            in_sample=in_sample,
        )
        provide_token(settings.token_env, url, token_file)
        loaded = load(data, trades, seed, instrument)
        with progress_of("trades") as on_progress:
            result = run_backtest(loaded, settings, on_progress)
        said = summary(settings, result)
        if report is not None:
            said["report"] = str(write_tick_report(settings, result, report))
    tell(said, as_json, result.gave_up, result.last_error)


@app.command()
def price(
    url: Url = "http://127.0.0.1:8080",
    data: BarFiles = None,
    instrument: Names = None,
    currency: Currency = None,
    bar: Interval = None,
    stamp: Stamp = "open",
    bars: Count = 20_000,
    seed: Seed = 1,
    model: Model = "price",
    version: Version = None,
    traffic: Traffic = None,
    token_file: TokenFile = None,
    latency: Latency = "10ms",  # type: ignore[assignment]
    max_age: MaxAge = "1s",  # type: ignore[assignment]
    horizon: Horizon = None,
    size: Size = "0.1",  # type: ignore[assignment]
    min_confidence: Confidence = 0.52,
    cost_bps: Cost = None,
    spread_bps: Spread = 1.0,
    fee_bps: Fee = 0.5,
    in_sample: InSample = False,
    report: Report = None,
    as_json: AsJson = False,
) -> None:
    """Long or short on the next bar's expected return, where it exceeds the costs."""
    refuse_report(traffic, report)
    with errors_told():
        settings = BarBacktestSettings(
            url=url,
            model=model,
            version=version,
            traffic=traffic,
            latency_ns=latency,
            max_age_ns=max_age,
            horizon_ns=horizon,
            trade_size=size,
            min_confidence=min_confidence,
            cost_bps=cost_bps,
            spread_bps=spread_bps,
            fee_bps=fee_bps,
            in_sample=in_sample,
            currency=currency,
        )
        provide_token(settings.token_env, url, token_file)
        loaded = [load_bars(path, bars, seed, name, bar, stamp) for path, name in pairs(data, instrument)]
        with progress_of("bars") as on_progress:
            result = run_bar_backtest(loaded, settings, on_progress)
        said = bar_summary(settings, result)
        if report is not None:
            said["report"] = str(write_bar_reports(settings, result, report))
    tell(said, as_json, result.gave_up, result.last_error)


@app.command()
def news(
    url: Url = "http://127.0.0.1:8080",
    data: BarFiles = None,
    news: NewsFile = None,
    news_delay: NewsDelay = None,
    instrument: Names = None,
    currency: Currency = None,
    bar: Interval = None,
    stamp: Stamp = "open",
    bars: Count = 20_000,
    seed: Seed = 1,
    model: Model = "ensemble",
    version: Version = None,
    traffic: Traffic = None,
    token_file: TokenFile = None,
    latency: Latency = "10ms",  # type: ignore[assignment]
    max_age: MaxAge = "1s",  # type: ignore[assignment]
    horizon: Horizon = None,
    size: Size = "0.1",  # type: ignore[assignment]
    min_confidence: Confidence = 0.52,
    cost_bps: Cost = None,
    require_news: Annotated[bool, typer.Option("--require-news", help="Enter only where news counted.")] = False,
    veto_score: Annotated[float | None, typer.Option(help="Never enter against a sentiment this strong.")] = None,
    spread_bps: Spread = 1.0,
    fee_bps: Fee = 0.5,
    in_sample: InSample = False,
    report: Report = None,
    as_json: AsJson = False,
) -> None:
    """As price, on what bars and headlines together say of the next bar."""
    refuse_report(traffic, report)
    with errors_told():
        settings = NewsBacktestSettings(
            url=url,
            model=model,
            version=version,
            traffic=traffic,
            latency_ns=latency,
            max_age_ns=max_age,
            horizon_ns=horizon,
            trade_size=size,
            min_confidence=min_confidence,
            cost_bps=cost_bps,
            require_news=require_news,
            veto_score=veto_score,
            spread_bps=spread_bps,
            fee_bps=fee_bps,
            in_sample=in_sample,
            currency=currency,
        )
        provide_token(settings.token_env, url, token_file)
        loaded, headlines = [], {}  # a headline on several instruments is loaded with each of them
        for path, name in pairs(data, instrument):
            found, told = load_news_bars(path, news, bars, seed, name, bar, stamp, news_delay)
            loaded.append(found)
            headlines.update(dict.fromkeys(told))
        with progress_of("bars") as on_progress:
            result = run_news_backtest(loaded, list(headlines), settings, on_progress)
        said = bar_summary(settings, result)
        if report is not None:
            said["report"] = str(write_bar_reports(settings, result, report))
    tell(said, as_json, result.gave_up, result.last_error)


def pairs(data: list[Path] | None, instrument: list[str] | None) -> list[tuple[Path | None, str | None]]:
    """Where each instrument's bars are; of one catalog, several instruments may be named."""
    paths: list[Path | None] = [*data] if data else [None]
    names: list[str | None] = [*instrument] if instrument else [None] * len(paths)
    if len(paths) == 1:
        paths *= len(names)
    if len(paths) != len(names):
        raise typer.BadParameter(f"as many --instrument as --data expected, was {len(names)} for {len(paths)}")
    return list(zip(paths, names, strict=True))


def refuse_report(traffic: str | None, report: Path | None) -> None:
    if traffic is not None and report is not None:
        raise typer.BadParameter("no --report beside --traffic expected: a report is about one version")


@contextmanager
def errors_told() -> Iterator[None]:
    """Status 2 for a setting that makes no sense, 1 for a job that failed."""
    try:
        yield
    except BadSetting as error:
        raise typer.BadParameter(str(error)) from None
    except (BadData, UnreadableArchive, NoToken, RequestError, StoreFailed, OSError) as error:
        raise failed(f"{error}") from None


@contextmanager
def progress_of(noun: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, and what moves it."""
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=console, transient=True) as bar:
        task = bar.add_task(noun, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def tell(said: dict[str, Any], as_json: bool, gave_up: bool, last_error: str) -> None:
    if as_json:
        typer.echo(json.dumps(said))
    else:
        console.print(result_table(said))
    if gave_up:
        raise failed(f"the model stopped answering: {last_error}")


def failed(reason: str) -> typer.Exit:
    typer.echo(f"error: {reason}", err=True)
    return typer.Exit(1)


if __name__ == "__main__":
    app()
