"""Runs on predictions that are asked for beforehand, many in one request, and fed in as data when they are due."""

import os
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from decimal import Decimal
from typing import NamedTuple

from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.instruments import Instrument

from nautilus_torchserve.features.bar import bar_schema
from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.features.tick import tick_schema
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.serving.client.client import InferenceClient, connect
from nautilus_torchserve.serving.client.transports import is_server_url
from nautilus_torchserve.trading.backtest.engine import built, run_config
from nautilus_torchserve.trading.backtest.prefetch.bars import BarsRun, BarWindows, bar_chunk, bar_predictions
from nautilus_torchserve.trading.backtest.prefetch.prediction_table import PredictionInjector, PredictionTable
from nautilus_torchserve.trading.backtest.prefetch.requests import Failures
from nautilus_torchserve.trading.backtest.prefetch.stream import MarketChunk, MergedData
from nautilus_torchserve.trading.backtest.prefetch.ticks import ROWS, tick_predictions, tick_rows, trade_chunks
from nautilus_torchserve.trading.backtest.run import PreparedRun, RequestStats
from nautilus_torchserve.trading.backtest.tick_settings import importable_strategy
from nautilus_torchserve.trading.bars.actor import BarInferenceActorConfig
from nautilus_torchserve.trading.inference.config import ModelActorConfig
from nautilus_torchserve.trading.inference.messages import OneInput
from nautilus_torchserve.trading.instruments.conform import tick_steps
from nautilus_torchserve.trading.prediction import Prediction
from nautilus_torchserve.trading.tick.actor import InferenceActorConfig
from strategies.bar_strategy import BarStrategyConfig
from strategies.tick_strategy import TickStrategyConfig

CHUNK = 8_192
"""Trades whose data are made and handed to the engine at once; memory grows with them, the result does not change."""
THREADS = 4
"""Requests to a server at one time."""


class Feed(NamedTuple):
    """What a run is fed with."""

    instrument_ids: tuple[InstrumentId, ...]
    """What predictions are about."""
    market: Iterable[MarketChunk]
    """In order of time."""
    span_ns: tuple[int, int]
    """``ts_init`` of the market's first and last datum, Unix ns."""
    predictions: Generator[PredictionTable, None, None]
    """In the order in which they were asked."""
    failures: Failures
    """Of those."""
    asked: Callable[[int, int], OneInput]
    """Given a position among the instruments and a `Prediction.number`, what the model was asked."""


class Prefetch:
    """Stands in a run where an actor would ask the model.

    A server is asked while the engine works on what was answered before, an archive in this process in between. The
    latency is that of the actor: the same `Delay`, one draw for each request that it would make, in the same order.

    Parameters
    ----------
    engine : BacktestEngine
        With its instruments and strategies.
    client : InferenceClient
        To be kept open until this is closed.
    model : str
        The name it was asked by.
    feed : Feed
    """

    def __init__(self, engine: BacktestEngine, client: InferenceClient, model: str, feed: Feed) -> None:
        self._engine = engine
        self._feed = feed
        self._predicted = PredictionInjector(engine.kernel.msgbus, feed.instrument_ids, client.metadata, model)
        self._merged = MergedData(feed.market, feed.span_ns[1], feed.predictions, self._predicted)

    @property
    def published(self) -> tuple[Prediction, OneInput] | None:
        """The last prediction that took effect, and what the model was asked for it."""
        last = self._predicted.published
        if last is None:
            return None
        return last, self._feed.asked(self._feed.instrument_ids.index(last.instrument_id), last.number)

    def run(self) -> None:
        """Feed the engine, and run it to the end of the data."""
        self._engine.add_data_iterator("market and predictions", self._merged.chunks())
        start_ns, end_ns = self._feed.span_ns
        self._engine.run(start=start_ns, end=end_ns)

    def asked(self) -> RequestStats:
        """What came of the asking; to be called after the run."""
        late, ids, failures = self._merged.not_arrived(), self._feed.instrument_ids, self._feed.failures
        return RequestStats(
            failed=Counter({ids[subject]: len(numbers) for subject, numbers in failures.failed.items()}),
            refused=Counter({ids[subject]: len(numbers) for subject, numbers in failures.refused.items()}),
            not_arrived=Counter(ids[subject] for subject in late.subject.tolist()) if late is not None else Counter(),
            last_error=failures.last_error,
            last_refusal=failures.last_refusal,
            gave_up=failures.gave_up,
            news=dict.fromkeys(ids),
        )

    def close(self) -> None:
        """End the requests that are under way."""
        self._feed.predictions.close()


@contextmanager
def prefetched(
    trades: Trades,
    instrument: Instrument,
    actor: InferenceActorConfig,
    strategy: TickStrategyConfig,
    balance: Decimal,
    chunk: int = CHUNK,
) -> Iterator[PreparedRun]:
    """A tick strategy's run, ready to start, on what an `InferenceActor` of this config would publish.

    Parameters
    ----------
    balance : Decimal
        Account at the start, in settlement currency.
    chunk : int
        See `CHUNK`.

    Raises
    ------
    RequestError, UnreadableArchive
        The model cannot be reached, or was trained on other features. Once started, any failure but that of single
        rows ends the run: predictions are not left out where an actor, asking trade by trade, might have got them.
    """
    config = run_config([instrument], None, [importable_strategy(strategy)], [], balance)
    with (
        _client(actor, tick_schema(actor.window)) as client,
        built(config, [instrument], trades) as (_, engine),
    ):
        feed = _of_trades(trades, client, actor, chunk, tick_steps(instrument))
        with closing(Prefetch(engine, client, actor.model, feed)) as prefetch:
            yield PreparedRun(engine, prefetch, prefetch.run, prefetch.asked)


@contextmanager
def prefetched_bars(
    runs: Sequence[BarsRun],
    actor: BarInferenceActorConfig,
    strategies: Sequence[BarStrategyConfig],
    spread_bps: float,
    balance: Decimal,
) -> Iterator[PreparedRun]:
    """A bar strategy's run, ready to start, on what a `BarInferenceActor` of this config would publish.

    Parameters
    ----------
    runs : sequence of BarsRun
        In the order of the actor's ``bar_types``.
    spread_bps : float
        Of the quotes around the bars.
    balance : Decimal
        Each venue's account at the start, in settlement currency.

    Raises
    ------
    RequestError, UnreadableArchive
        As `prefetched`.
    """
    instruments = [each.instrument for each in runs]
    config = run_config(instruments, None, [importable_strategy(each) for each in strategies], [], balance)
    with (
        _client(actor, bar_schema(actor.indicators)) as client,
        built(config, instruments) as (_, engine),
        closing(Prefetch(engine, client, actor.model, _of_bars(runs, client, actor, spread_bps))) as prefetch,
    ):
        yield PreparedRun(engine, prefetch, prefetch.run, prefetch.asked)


def _client(actor: ModelActorConfig, schema: FeatureSchema) -> InferenceClient:
    token = os.environ.get(actor.token_env)
    return connect(actor.url, actor.model, actor.version, schema=schema, token=token, timeout_s=actor.timeout_s)


def _of_trades(trades: Trades, client: InferenceClient, actor: InferenceActorConfig, chunk: int, tick: int) -> Feed:
    failures = Failures(actor.max_failures)
    threads, ahead = _threads_for(actor.url), THREADS + 2 * chunk // ROWS
    return Feed(
        instrument_ids=(actor.instrument_id,),
        market=trade_chunks(trades, chunk, tick),
        span_ns=(int(trades.ts_init[0]), int(trades.ts_init[-1])),
        predictions=tick_predictions(trades, client, actor.window, actor.delay(), failures, threads, ahead),
        failures=failures,
        asked=lambda _, number: tick_rows(trades, number, number + 1, actor.window)[0],
    )


def _of_bars(
    runs: Sequence[BarsRun], client: InferenceClient, actor: BarInferenceActorConfig, spread_bps: float
) -> Feed:
    failures, about = Failures(actor.max_failures), BarWindows(runs, actor)
    market = bar_chunk(runs, spread_bps)
    return Feed(
        instrument_ids=tuple(each.bar_type.instrument_id for each in runs),
        market=[market],
        span_ns=(min(int(times[0]) for _, times in market.streams), market.until_ns - 1),
        predictions=bar_predictions(about, client, actor.delay(), failures, _threads_for(actor.url)),
        failures=failures,
        asked=about.window,
    )


def _threads_for(url: str) -> int:
    """How many threads ask; 0: none beside the engine's."""
    return THREADS if is_server_url(url) else 0
