"""Several instruments behind one actor, each with its version: one request for each version, one outcome for each."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from bar_support import market as bars_of
from news_support import ETH, SECOND, SIM, TEXTS, as_data, headline, ids, run_actor
from routed_support import Register, registering, start

from nautilus_torchserve.market.news.headlines import Headline
from nautilus_torchserve.market.trades.trades import Instrument
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.trading.backtest.bars.settings import BarBacktestSettings
from nautilus_torchserve.trading.backtest.run import run_backtest
from nautilus_torchserve.trading.instruments.instruments import perpetual
from nautilus_torchserve.trading.news.sentiment_actor import (
    InstrumentSentiment,
    SentimentActor,
    SentimentActorConfig,
    sentiment_type,
)
from nautilus_torchserve.traffic.records import CallWindow, ClosedTrade, ScoredPrediction
from nautilus_torchserve.traffic.store import TrafficStore


@pytest.fixture(scope="module")
def register(tick_server: TorchServe, tick_archive: Path) -> Iterator[Register]:
    """Register versions of a model, made of one run; the first one is the default."""
    with registering(tick_server.management(), tick_archive.parent) as register:
        yield register


@pytest.fixture
def url(tmp_path: Path) -> str:
    """URL of an empty store."""
    return f"sqlite:///{tmp_path}/traffic.db"


@pytest.mark.slow
def test_bars_that_close_together_make_one_request_for_each_version(
    register: Register, price_archive: Path, url: str, tick_server: TorchServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    register("price-split", price_archive.parent / "run", "1.0", "1.1")
    assert tick_server.token is not None
    monkeypatch.setenv("TORCHSERVE_TOKEN", tick_server.token)
    symbols = ("SIMUSD", "ETHUSD", "SOLUSD")
    split = start(url, "price-split", 0.5, name="exp-3")
    given = {f"{symbol}.SIM": split.version_for(f"{symbol}.SIM", 0) for symbol in symbols}
    assert set(given.values()) == {"1.0", "1.1"}
    bars = [bars_of(symbol, seed=seed) for seed, symbol in enumerate(symbols)]
    settings = BarBacktestSettings(
        url=tick_server.inference_url, model="price-split", traffic=url, min_confidence=0.5, cost_bps=0.0
    )

    result = run_backtest(bars, settings)

    assert [len(instrument.predictions) for instrument in result.instruments] == [200] * 3
    with TrafficStore(url) as store:
        calls = Counter[str]()
        for each in store.read(CallWindow, "exp-3"):
            calls[each.version] += each.requests
        scored, trades = store.read(ScoredPrediction, "exp-3"), store.read(ClosedTrade, "exp-3")
    assert calls == {"1.0": 201, "1.1": 201}
    assert {each.instrument_id: each.version for each in scored} == given
    assert all(each.version == given[each.instrument_id] for each in (*scored, *trades))
    assert {each.predicted for each in scored} == {each.actual for each in scored} == {"UP", "DOWN"}
    assert Counter(trade.instrument_id for trade in trades) == {
        instrument.data.instrument.instrument_id: instrument.positions for instrument in result.instruments
    }
    moves = {name: bars[place].ts_event[59:259] for place, name in enumerate(given)}
    assert all(each.ts_ns in moves[each.instrument_id] for each in scored)


@pytest.mark.slow
def test_a_headline_is_read_by_each_version_that_its_instruments_are_with(
    register: Register, news_runs: dict[str, Path], url: str, tick_server: TorchServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    register("sentiment-split", news_runs["sentiment"], "1.0", "1.1")
    assert tick_server.token is not None
    monkeypatch.setenv("TORCHSERVE_TOKEN", tick_server.token)
    split = start(url, "sentiment-split", 0.5, name="exp-1")
    given = {name: split.version_for(name, 0) for name in (SIM, ETH)}
    assert set(given.values()) == {"1.0", "1.1"}
    times = [1_700_000_000 * SECOND + number * SECOND for number in range(len(TEXTS))]
    headlines = [headline(text, at, SIM, ETH) for text, at in zip(TEXTS, times, strict=True)]
    last = Headline("The market closes", "wire", ("OTHER.XNYS",), times[-1] + SECOND, times[-1] + SECOND)
    actor = SentimentActor(
        SentimentActorConfig(
            instrument_ids=ids(SIM, ETH), url=tick_server.inference_url, model="sentiment-split", traffic=url
        )
    )
    instruments = [perpetual(Instrument(symbol, "SIM", 2, 3), fee_bps=0.0) for symbol in ("SIMUSD", "ETHUSD")]

    published: Sequence[InstrumentSentiment] = run_actor(  # type: ignore[assignment]
        actor,
        instruments,
        [as_data([*headlines, last])],
        [f"data.{sentiment_type(name).topic}" for name in ids(SIM, ETH)],
    )

    by_version = Counter((datum.instrument_id.value, datum.version) for datum in published)
    assert by_version == dict.fromkeys(given.items(), len(TEXTS))
    by_instrument = [[datum.score for datum in published if datum.instrument_id.value == name] for name in (SIM, ETH)]
    assert by_instrument[0] == by_instrument[1]  # both versions have the same weights
