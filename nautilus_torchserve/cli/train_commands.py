"""The training commands of the built-in models: options, one call into `training`, the result in words or as JSON."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from nautilus_torchserve.cli.app import console, echo, parsed, print_json
from nautilus_torchserve.cli.data_options import BarCount, News, NewsDelay, Trades
from nautilus_torchserve.cli.market_data import BarSource, TradeSource
from nautilus_torchserve.cli.options import ArchiveVersion, Json, duration, seed_option
from nautilus_torchserve.features.news_window import NewsWindowConfig
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.bars.checks import examine
from nautilus_torchserve.market.trades.labels import LabelConfig
from nautilus_torchserve.models.spec import ModelSpec, load_object
from nautilus_torchserve.models.table import PRICE, SENTIMENT
from nautilus_torchserve.training.ensemble.run import train_ensemble
from nautilus_torchserve.training.fit.loop import History
from nautilus_torchserve.training.price.options import PriceTraining, price_training
from nautilus_torchserve.training.price.run import train_price
from nautilus_torchserve.training.price.tuning import tune_price
from nautilus_torchserve.training.runs.result import REPORT, Artifacts, TrainingResult
from nautilus_torchserve.training.runs.tuning import TuneProgress, write_best
from nautilus_torchserve.training.sentiment.backbone import find_backbone
from nautilus_torchserve.training.sentiment.data import CORPUS, load_sentiment_data
from nautilus_torchserve.training.sentiment.label_files import parse_label_map
from nautilus_torchserve.training.sentiment.options import sentiment_training
from nautilus_torchserve.training.sentiment.run import train_sentiment
from nautilus_torchserve.training.tick.fit import TickFitConfig
from nautilus_torchserve.training.tick.run import train_tick

Seed = Annotated[int, seed_option("fit and simulation")]
Device = Annotated[str, typer.Option(help="Device: auto, cpu or cuda.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads; the number affects the last bits of the weights.")]
RunFolder = Annotated[Path, typer.Option(help="Output (run folder).")]
Settings = Annotated[list[str], typer.Option("--set", help="Setting: fit.epochs=5, network.hidden=64; repeatable.")]
FIT_COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())


def tick(
    source: TradeSource,
    trades: Trades = 60_000,
    out: RunFolder = Path("runs/tick"),
    seed: Seed = 1,
    horizon: Annotated[int, typer.Option("--label-trades", min=1, help="Label horizon in trades.")] = 20,
    cost_bps: Annotated[float, typer.Option(min=0.0, help="Minimum move worth trading (bps).")] = 1.0,
    epochs: Annotated[int, typer.Option(min=1, help="Maximum number of epochs.")] = 60,
    as_json: Json = False,
) -> None:
    """Fit a classifier of BUY, SELL or HOLD from the last trades."""
    labels = LabelConfig(horizon, cost_bps)
    loaded = source.load(trades, seed)
    with fit_progress(epochs) as advance:
        result = train_tick(
            loaded,
            out,
            labels,
            TickFitConfig(epochs=epochs, seed=seed),
            on_epoch=lambda history: advance(history.epochs, history),
        )
    (history,) = result.histories
    fit = f"{loaded.source}: {len(loaded)} trades, best epoch {history.best_epoch} of {history.epochs}"
    report_result(out, result, as_json, fit, result.evaluation["edge"])


def price(
    source: BarSource,
    bars: BarCount = 20_000,
    model: Annotated[str, typer.Option(help="Model (price_lstm, residual, cnn or patchtst).")] = "price_lstm",
    out: RunFolder = Path("runs/price"),
    indicators: Annotated[bool | None, typer.Option(help="Add indicator columns; default: depends on --model.")] = None,
    folds: Annotated[int, typer.Option(min=1, help="Number of walk-forward folds.")] = 4,
    max_gap: Annotated[
        int | None, duration("Longest gap within a window; default: one bar, a long weekend for daily bars.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration file (of --tune); default: none.")] = None,
    settings: Settings = [],  # noqa: B006
    tune: Annotated[int, typer.Option(min=0, help="Total number of tuning trials, instead of a fit.")] = 0,
    device: Device = "auto",
    threads: Threads = 1,
    version: ArchiveVersion = "1.0",
    seed: Seed = 1,
    as_json: Json = False,
) -> None:
    """Fit a forecast of the next bar's return from a window of bars, evaluated walk-forward and tracked with MLflow."""
    settings = [*settings, f"fit.seed={seed}"]
    training = price_training(
        model, config, settings, indicators, device, folds=folds, max_gap_ns=max_gap, threads=threads
    )
    loaded = source.load(bars, seed)
    for line in examine(loaded).lines():
        echo(line)
    if tune:
        search(loaded, out, tune, training, as_json)
        return
    with fit_progress(folds * training.fit.epochs) as advance:
        result = train_price(
            loaded,
            out,
            training,
            lambda fold, history: advance(
                (fold - 1) * training.fit.epochs + history.epochs, history, f"fold {fold} of {folds}, "
            ),
            artifacts(PRICE, version),
        )
    without_volume = result.evaluation["data"]["without_volume"]
    notes = [f"{without_volume:,} windows without any volume were left out."] if without_volume else []
    report_result(out, result, as_json, *notes, result.evaluation["edge"])


def sentiment(
    data: Annotated[list[Path], typer.Option(help="Data to read: sentences, CSV or text@label.")] = [],  # noqa: B006
    only_data: Annotated[
        bool, typer.Option("--only-data", help="Train on --data alone, without the bundled sentences.")
    ] = False,
    backbone: Annotated[Path | None, typer.Option(help="Encoder folder; default: all-MiniLM-L6-v2.")] = None,
    evaluate: Annotated[list[Path], typer.Option(help="Labelled file to score the model on; repeatable.")] = [],  # noqa: B006
    label_map: Annotated[
        dict[str, str] | None,
        typer.Option(
            parser=parsed(parse_label_map),
            metavar="MAP",
            help="Classes of the files' labels: 0=negative,1=positive,2=neutral; default: they are class names.",
        ),
    ] = None,
    out: RunFolder = Path("runs/sentiment"),
    settings: Settings = [],  # noqa: B006
    device: Device = "auto",
    threads: Threads = 2,
    version: ArchiveVersion = "1.0",
    seed: Annotated[int, seed_option("fit and validation split")] = 1,
    as_json: Json = False,
) -> None:
    """Fit a sentiment classifier of texts, evaluated on held-out sentences and tracked with MLflow."""
    training = sentiment_training(settings, seed, device, threads)
    corpus = None if only_data else CORPUS
    loaded = load_sentiment_data(data, corpus, training.fit.validation_share, training.fit.seed, label_map)
    if loaded.repeated:
        echo(f"{loaded.repeated} repeated sentences left out, {loaded.relabelled} of them with another label.")
    with fit_progress(training.fit.epochs, "the head alone") as advance:
        result = train_sentiment(
            loaded,
            find_backbone(backbone),
            out,
            training,
            evaluate,
            lambda history: advance(history.epochs, history),
            artifacts(SENTIMENT, version),
            label_map,
        )
    metrics, benchmarks = result.description["metrics"], result.evaluation["benchmarks"]
    scores = [
        f"{len(loaded.held_out)} held-out sentences: {_scores_text(metrics['held_out'])}.",
        metrics["edge"],
        *(
            f"{benchmark['source']}, {benchmark['sentences']} sentences: {_scores_text(benchmark['scores']['model'])}."
            for benchmark in benchmarks
        ),
    ]
    report_result(out, result, as_json, *scores, benchmarks=benchmarks)


def ensemble(
    source: BarSource,
    price_run: Annotated[Path, typer.Option(help="Run folder of the price model.")] = Path("runs/price"),
    sentiment_run: Annotated[Path, typer.Option(help="Run folder of the sentiment model.")] = Path("runs/sentiment"),
    news: News = None,
    news_delay: NewsDelay = None,
    bars: BarCount = 20_000,
    max_news_age: Annotated[int, duration("Maximum age of a headline in a window.")] = "4h",  # type: ignore[assignment]
    max_texts: Annotated[int, typer.Option(min=1, help="Maximum number of headlines in a window.")] = 8,
    out: RunFolder = Path("runs/ensemble"),
    seed: Annotated[int, seed_option("simulation and intervals")] = 1,
    as_json: Json = False,
) -> None:
    """Fit the weights of a price and a sentiment model in one call, on bars that the price model has not seen."""
    loaded, headlines = source.load_with_news(news, news_delay, bars, seed)
    for line in examine(loaded).lines():
        echo(line)
    window = NewsWindowConfig(max_news_age, max_texts)
    with console.status("scoring headlines, fitting weights"):
        result = train_ensemble(loaded, headlines, price_run, sentiment_run, out, window, seed)
    weights = ", ".join(f"{name} {value:.3g}" for name, value in result.description["network"]["config"].items())
    report_result(out, result, as_json, weights, result.evaluation["edge"])


def search(loaded: Bars, out: Path, trials: int, training: PriceTraining, as_json: bool) -> None:
    """Tune the network and its fit, and write the best configuration beside the run folder."""
    storage, best = out.parent / "tuning.db", out.with_name(f"{out.name}.best.json")
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("searching", total=trials)

        def on_trial(trial: TuneProgress) -> None:
            best_value = "none yet" if trial.best_value is None else f"{trial.best_value:.4f}"
            progress.update(task, completed=trial.done, description=f"best validation {best_value}")

        tuned = tune_price(loaded, storage, trials, training, on_trial)
    write_best(best, tuned, {"network": training.network_config, "fit": training.to_dict()["fit"]})
    if as_json:
        print_json({"config": str(best), "value": tuned.best_value, "trials": tuned.trials})
    echo(f"{best}: the best of {tuned.trials} trials ({tuned.pruned} pruned), --config takes it")


Advance = Callable[..., None]
"""Shows the epochs done so far and the losses of a history, after a prefix."""


@contextmanager
def fit_progress(total: int, description: str = "fitting") -> Iterator[Advance]:
    """Show a progress bar of so many epochs."""
    with Progress(*FIT_COLUMNS, console=console, transient=True) as progress:
        task = progress.add_task(description, total=total)

        def advance(epochs: int, history: History, prefix: str = "") -> None:
            losses = f"validation {history.validation_loss[-1]:.4f}, best {min(history.validation_loss):.4f}"
            progress.update(task, completed=epochs, description=f"{prefix}{losses}")

        yield advance


def report_result(out: Path, result: TrainingResult, as_json: bool, *lines: str, **more: Any) -> None:
    """Print the description and ``more`` as JSON on stdout, the lines and what comes next on stderr."""
    page = result.folder / REPORT / "index.html"
    is_tracked = result.mlflow_run_id is not None
    tracked = {"report": str(page), "mlflow_run_id": result.mlflow_run_id} if is_tracked else {}
    if as_json:
        print_json({"run": str(out), **tracked, **result.description, **more})
    for line in lines:
        echo(line)
    echo(f"{f'{page} shows why; ' if is_tracked else ''}{out} is ready to be packed.")


def artifacts(spec: ModelSpec, version: str) -> Artifacts:
    """Return what makes the evaluation's page, and the archive where this host can build one."""

    def make(result: TrainingResult) -> Iterator[tuple[Path, str]]:
        if spec.training is not None and spec.training.page is not None:
            yield load_object(spec.training.page)(result.evaluation, result.folder / REPORT).parent, REPORT
        if find_spec("model_archiver") is None or find_spec("ts") is None:
            message = "No archive tracked: that needs torchserve and torch-model-archiver (extra 'server')."
            echo(message)
            return
        from nautilus_torchserve.release.build.archive import build_archive  # a host that only trains has neither

        with tempfile.TemporaryDirectory(prefix="archive-") as store:
            yield build_archive(spec.name, result.folder, version, Path(store)).path, "archive"

    return make


def _scores_text(scores: dict[str, Any]) -> str:
    return f"accuracy {scores['accuracy']:.3f}, macro-F1 {scores['macro_f1']:.3f}"
