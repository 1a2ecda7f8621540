"""Runs on predictions that are requested in bulk, and fed in as data when they are due."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from decimal import Decimal
from typing import Any

from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.trading.config import StrategyConfig

from nautilus_torchserve.serving.client.client import InferenceClient
from nautilus_torchserve.trading.backtest.engine import built, importable_strategy, run_config
from nautilus_torchserve.trading.backtest.market import Market
from nautilus_torchserve.trading.backtest.prefetch.prediction_table import PredictionInjector
from nautilus_torchserve.trading.backtest.prefetch.stream import Feed, MergedData
from nautilus_torchserve.trading.backtest.prepared import PreparedRun, RequestStats
from nautilus_torchserve.trading.inference.config import ModelActorConfig
from nautilus_torchserve.trading.inference.messages import ModelInput
from nautilus_torchserve.trading.prediction import Prediction


class Prefetch:
    """Takes the place of the actor in a run.

    Requests to a server are under way while the engine works on earlier predictions; an archive in this process
    computes in between. The latency is that of the actor: the same `Delay`, one draw for each request that it would
    make, in the same order.

    Parameters
    ----------
    engine : BacktestEngine
        With its instruments and strategies.
    client : InferenceClient
        To be kept open until this is closed.
    model : str
        The name under which predictions are published.
    feed : Feed
    """

    def __init__(self, engine: BacktestEngine, client: InferenceClient, model: str, feed: Feed) -> None:
        self._engine = engine
        self._feed = feed
        self._injector = PredictionInjector(engine.kernel.msgbus, feed.instrument_ids, client.metadata, model)
        self._merged = MergedData(feed.market, feed.span_ns[1], feed.predictions, self._injector)

    @property
    def published(self) -> tuple[Prediction, ModelInput] | None:
        """The last prediction that took effect, and its input."""
        last = self._injector.published
        if last is None:
            return None
        return last, self._feed.inputs(self._feed.instrument_ids.index(last.instrument_id), last.number)

    def run(self) -> None:
        """Feed the engine, and run it to the end of the data."""
        self._engine.add_data_iterator("market and predictions", self._merged.chunks())
        start_ns, end_ns = self._feed.span_ns
        self._engine.run(start=start_ns, end=end_ns)

    def stats(self) -> RequestStats:
        """Return the outcomes of the requests; to be called after the run."""
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
        """Cancel the requests that are under way."""
        self._feed.predictions.close()


@contextmanager
def prefetched(
    market: Market[Any], actor: ModelActorConfig, strategies: Sequence[StrategyConfig], balance: Decimal
) -> Iterator[PreparedRun]:
    """Yield a run, ready to start, on the predictions that an actor of this config would publish.

    Parameters
    ----------
    actor : ModelActorConfig
        About the instruments of the market, in their order.
    balance : Decimal
        Each venue's account at the start, in settlement currency.

    Raises
    ------
    RequestError, UnreadableArchive
        The model cannot be reached, or was trained on other features. Once started, any failure but that of single
        rows ends the run: no prediction is left out that an actor, one request an event, might have received.
    """
    config = run_config(
        market.instruments,
        None,
        [importable_strategy(strategy) for strategy in strategies],
        [],
        balance,
        market.settings.has_carry,
    )
    with (
        actor.connect() as client,
        built(config, market.instruments, market.venue_quotes) as (_, engine),
        closing(Prefetch(engine, client, actor.model, market.feed(client, actor))) as prefetch,
    ):
        yield PreparedRun(engine, prefetch, prefetch.run, prefetch.stats)
