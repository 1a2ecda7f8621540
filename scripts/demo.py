"""End-to-end demo: train, package, serve, trade over the inference port, report."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from nautilus_torchserve.bundle import WORKSPACE
from nautilus_torchserve.cli.app import App, console, print_json
from nautilus_torchserve.cli.backtest_options import InstrumentFlags
from nautilus_torchserve.cli.data_options import AllowJumps, Stamp, Timezone
from nautilus_torchserve.cli.options import Json
from nautilus_torchserve.cli.sweep_console import result_table
from nautilus_torchserve.features.news_window import NewsWindowConfig
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.bars.checks import reading_notes
from nautilus_torchserve.market.bars.load import load_bars
from nautilus_torchserve.market.news.load import load_news_bars
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.market.trades.labels import LabelConfig
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.release.build.archive import build_archive
from nautilus_torchserve.reporting.evaluation.price_page import write_evaluation
from nautilus_torchserve.reporting.evaluation.sentiment_page import write_sentiment
from nautilus_torchserve.serving.server.torchserve import ServerSettings, start_server
from nautilus_torchserve.trading.backtest.bars.settings import BarBacktestSettings
from nautilus_torchserve.trading.backtest.market import market_of
from nautilus_torchserve.trading.backtest.news.market import BarsAndNews, NewsBacktestSettings
from nautilus_torchserve.trading.backtest.report import summary, write_reports
from nautilus_torchserve.trading.backtest.run import Data, run_backtest
from nautilus_torchserve.trading.backtest.settings import RunSettings
from nautilus_torchserve.trading.backtest.tick.settings import BacktestSettings
from nautilus_torchserve.trading.durations import parse_duration
from nautilus_torchserve.trading.instruments.options import InstrumentOptions
from nautilus_torchserve.trading.instruments.resolve import resolve
from nautilus_torchserve.training.ensemble.run import train_ensemble
from nautilus_torchserve.training.price.fit import PriceFitConfig
from nautilus_torchserve.training.price.options import PriceTraining
from nautilus_torchserve.training.price.run import train_price
from nautilus_torchserve.training.runs.result import DESCRIPTION, REPORT
from nautilus_torchserve.training.sentiment.backbone import find_backbone
from nautilus_torchserve.training.sentiment.data import load_sentiment_data
from nautilus_torchserve.training.sentiment.options import SentimentTraining
from nautilus_torchserve.training.sentiment.run import train_sentiment
from nautilus_torchserve.training.tick.fit import TickFitConfig
from nautilus_torchserve.training.tick.run import train_tick

PRICE = PriceTraining(network_config={"hidden": 32}, fit=PriceFitConfig(epochs=5, learning_rate=4e-3), folds=2)
"""Small enough for a demo."""
NEWS_BARS, NEWS_TEXTS = 20, 4
"""Bars for which a headline counts, and the most headlines of a window."""
Advance = Callable[[float, float], None]
"""Called with the progress of a step and its total."""
Begin = Callable[[str], Advance]
"""Begins a step, given its name."""


class Kind(StrEnum):
    """Market data to trade on."""

    TICKS = "ticks"
    BARS = "bars"
    NEWS = "news"


@dataclass(frozen=True)
class DemoArguments:
    """Arguments of the demo."""

    data: Path | None
    news: Path | None
    news_delay_ns: int | None
    size: int
    """Events to simulate where there are no data."""
    run: Path
    """Folder for what is trained."""
    sentiment: Path
    """Run folder of the sentiment model."""
    read: ReadOptions
    """How to read the data."""
    instruments: InstrumentOptions
    """Definition of the instrument, in addition to its data."""


@dataclass(frozen=True)
class TrainedModels:
    """Trained models and the data to trade on."""

    data: Data
    """Input data of the backtest."""
    runs: dict[str, Path]
    """Model -> run folder; the last one is traded on."""
    facts: dict[str, str]
    """Fields of the summary that are about the model."""


@dataclass(frozen=True)
class Steps:
    """The parts of the demo that differ."""

    size: int
    """Events to simulate."""
    train: Callable[[DemoArguments, Begin], TrainedModels]
    """Loads and fits."""
    settings: type[RunSettings]
    """Settings of the backtest."""


def show_notes(loaded: Trades | Bars) -> None:
    """Print what was assumed or let through in reading the data."""
    for note in reading_notes(loaded):
        console.print(note, soft_wrap=True, highlight=False, markup=False)


def train_ticks(arguments: DemoArguments, begin: Begin) -> TrainedModels:
    """Fit the tick classifier."""
    advance = begin("reading, training" if arguments.data else "simulating a market, training")
    loaded, config = load(arguments.data, arguments.size, seed=1, read=arguments.read), TickFitConfig()
    show_notes(loaded)
    resolve(loaded, arguments.instruments)  # before the time is spent on training
    trained = train_tick(
        loaded, arguments.run, LabelConfig(), config, on_epoch=lambda history: advance(history.epochs, config.epochs)
    )
    advance(1, 1)  # it may have stopped early
    return TrainedModels(loaded, {"tick": arguments.run}, {"edge": trained.evaluation["edge"]})


def train_bars(arguments: DemoArguments, begin: Begin) -> TrainedModels:
    """Fit a small price model."""
    advance = begin("reading, training" if arguments.data else "simulating a market, training")
    loaded = load_bars(arguments.data, arguments.size, seed=1, read=arguments.read)
    show_notes(loaded)
    resolve(loaded, arguments.instruments)  # before the time is spent on training
    return TrainedModels([loaded], {"price": arguments.run}, fit_price(loaded, arguments.run, advance))


def fit_price(bars: Bars, run: Path, advance: Advance) -> dict[str, str]:
    """Fit a small price model; return the fields of the summary that are about it."""
    total = PRICE.folds * PRICE.fit.epochs
    trained = train_price(
        bars, run, PRICE, lambda fold, history: advance((fold - 1) * PRICE.fit.epochs + history.epochs, total)
    )
    advance(1, 1)
    page = write_evaluation(trained.evaluation, run / REPORT)
    return {"edge": trained.evaluation["edge"], "evaluation": str(page)}


def train_news(arguments: DemoArguments, begin: Begin) -> TrainedModels:
    """Fit a small price model, a sentiment model where there is none yet, and the weights of both together."""
    price, ensemble = arguments.run / "price", arguments.run / "ensemble"
    advance = begin("reading, training" if arguments.data else "simulating a market and its news, training")
    bars, headlines = load_news_bars(
        arguments.data, arguments.news, arguments.size, 1, read=arguments.read, delay_ns=arguments.news_delay_ns
    )
    show_notes(bars)
    resolve(bars, arguments.instruments)  # before the time is spent on training
    facts = fit_price(bars, price, advance)
    if (arguments.sentiment / DESCRIPTION).is_file():
        console.print(f"{arguments.sentiment}: a sentiment model is there, and used again", soft_wrap=True)
    else:
        console.print(f"{arguments.sentiment}: no sentiment model yet; it takes some minutes, once", soft_wrap=True)
        fit_sentiment(arguments.sentiment, begin("training the sentiment model"))
    advance = begin("fitting the weights of bars and news")
    window = NewsWindowConfig(NEWS_BARS * bars.interval_ns, NEWS_TEXTS)
    trained = train_ensemble(bars, headlines, price, arguments.sentiment, ensemble, window)
    advance(1, 1)
    runs = {"price": price, "sentiment": arguments.sentiment, "ensemble": ensemble}
    return TrainedModels(BarsAndNews([bars], headlines), runs, {**facts, "edge": trained.evaluation["edge"]})


def fit_sentiment(run: Path, advance: Advance) -> None:
    """Train the sentiment model with the defaults of ``scripts/train.py sentiment``."""
    training = SentimentTraining()
    data = load_sentiment_data(validation_share=training.fit.validation_share, seed=training.fit.seed)
    epochs = training.fit.epochs
    trained = train_sentiment(
        data, find_backbone(), run, training, on_epoch=lambda history: advance(history.epochs, epochs)
    )
    advance(1, 1)
    write_sentiment(trained.evaluation, run / REPORT)


def trade(
    data: Data, settings_type: type[RunSettings], arguments: DemoArguments, url: str, out: Path, advance: Advance
) -> dict[str, Any]:
    """Run the backtest and write its report; return the summary."""
    default = settings_type(url=url)
    size = least_size(market_of(default).events(data, default)[0], arguments.instruments)
    settings = replace(default, trade_size=size, instruments=arguments.instruments)
    result = run_backtest(data, settings, advance)
    return {**summary(settings, result), "report": str(write_reports(settings, result, out))}


def least_size(data: Trades | Bars, instruments: InstrumentOptions) -> Decimal:
    """Return the default size, or the next larger one that the instrument can be traded in."""
    step = resolve(data, instruments).instrument.size_increment.as_decimal()
    return step * (BacktestSettings.trade_size / step).to_integral_value(ROUND_CEILING)


stopped: list[int] = []
"""Exit status for the signal received."""


def stop(number: int, _: object) -> None:
    """Stop at a signal; if native code swallows the exception, at the next progress report."""
    stopped.append(128 + number)
    raise KeyboardInterrupt


app = App()
STEPS = {
    Kind.TICKS: Steps(60_000, train_ticks, BacktestSettings),
    Kind.BARS: Steps(20_000, train_bars, BarBacktestSettings),
    Kind.NEWS: Steps(20_000, train_news, NewsBacktestSettings),
}


@app.command()
def main(
    kind: Annotated[Kind, typer.Argument(help="Trade tick by tick, bar by bar, or on bars and news.")] = Kind.TICKS,
    data: Annotated[Path | None, typer.Option(help="CSV or catalog folder; default: simulated.")] = None,
    stamp: Stamp = "open",
    timezone: Timezone = None,
    allow_jumps: AllowJumps = False,
    news: Annotated[Path | None, typer.Option(help="CSV or JSONL of headlines, with --data.")] = None,
    news_delay: Annotated[
        str | None, typer.Option(help="Delay from publication to receipt, if --news has no times of receipt.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report; default: reports/demo, reports/demo-bars.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Folder for the trained model; default: runs/demo, ...")] = None,
    sentiment: Annotated[Path, typer.Option(help="Sentiment model's run folder.")] = Path("runs/sentiment"),
    store: Annotated[Path, typer.Option(help="The model store.")] = WORKSPACE / "archives",
    home: Annotated[Path, typer.Option(help="The server's working directory.")] = WORKSPACE / ".server",
    size: Annotated[
        int | None, typer.Option(min=1000, help="Trades or bars to simulate; default: 60000, 20000.")
    ] = None,
    free_ports: Annotated[bool, typer.Option(help="Take free ports instead of config.properties'.")] = False,
    *,
    instruments: InstrumentFlags,
    as_json: Json = False,
) -> None:
    """Train, package, serve, trade over the inference port, report; the server is stopped at the end."""
    for number in (signal.SIGINT, signal.SIGTERM):  # so that the server is stopped at either
        signal.signal(number, stop)
    if news is not None and kind is not Kind.NEWS:
        raise typer.BadParameter(f"expected --news with the demo of news, got it with {kind}")
    name = "demo" if kind is Kind.TICKS else f"demo-{kind}"
    steps, out, run = STEPS[kind], out or Path("reports") / name, run or Path("runs") / name
    try:
        delay_ns = None if news_delay is None else parse_duration(news_delay)
        read = ReadOptions(stamp, timezone, allow_jumps)
        arguments = DemoArguments(data, news, delay_ns, size or steps.size, run, sentiment, read, instruments.options())
        summary_fields = demo(steps, arguments, out, store.resolve(), home.resolve(), free_ports)
    except KeyboardInterrupt:
        typer.echo("interrupted; everything that was started has been stopped", err=True)
        raise typer.Exit(stopped[0]) from None
    if as_json:
        print_json(summary_fields)
    else:
        console.print(result_table(summary_fields))


def demo(
    steps: Steps, arguments: DemoArguments, out: Path, store: Path, home: Path, free_ports: bool
) -> dict[str, object]:
    """Run all steps in sequence; return the summary."""
    with Progress(console=console) as progress:

        def begin(name: str) -> Advance:
            task = progress.add_task(name, total=1)

            def advance(done: float, total: float) -> None:
                if stopped:
                    raise KeyboardInterrupt
                progress.update(task, completed=done, total=total)

            return advance

        trained = steps.train(arguments, begin)
        archives = {}
        for model, run in trained.runs.items():
            packing = begin(f"packaging archives/{model}.mar")
            archives[model] = build_archive(model, run, "1.0", store).path.name
            packing(1, 1)
        serving = begin("starting TorchServe")
        with start_server(ServerSettings(archives, store, home, free_ports=free_ports, fresh=True)) as server:
            serving(1, 1)
            if server.token is not None:
                os.environ[BacktestSettings.token_env] = server.token
            trading = begin("trading over the inference port")
            result = trade(trained.data, steps.settings, arguments, server.inference_url, out, trading)
    return {**result, **trained.facts}


if __name__ == "__main__":
    app()
