"""Headlines as data: through a catalog, as bytes, and in a real backtest at the time of their receipt."""

from pathlib import Path

import pytest
from bar_support import market
from hypothesis import given
from hypothesis import strategies as st
from nautilus_trader.backtest.config import (
    BacktestDataConfig,
    BacktestEngineConfig,
    BacktestRunConfig,
    BacktestVenueConfig,
)
from nautilus_trader.common.actor import Actor
from nautilus_trader.config import ActorConfig, LoggingConfig
from nautilus_trader.core.data import Data
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.persistence.catalog import ParquetDataCatalog

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.news.headlines import Headline
from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.trading.backtest.bars.catalog import write_bar_catalog
from nautilus_torchserve.trading.backtest.engine import built
from nautilus_torchserve.trading.backtest.news.market import news_data, news_objects, write_news_catalog
from nautilus_torchserve.trading.bars.types import bar_type
from nautilus_torchserve.trading.instruments.instruments import perpetual
from nautilus_torchserve.trading.news.headline import HEADLINE_TOPIC, HEADLINE_TYPE, NewsHeadline

SIM, ETH = "SIMUSD.SIM", "ETHUSD.SIM"


def times(headlines: list[NewsHeadline]) -> list[tuple[int, int]]:
    return [(headline.ts_event, headline.ts_init) for headline in headlines]


HEADLINES = st.builds(
    lambda text, source, names, time, delay: Headline(text, source, tuple(names), time, time + delay),
    st.text(st.characters(blacklist_categories=["Cs"]), min_size=1).filter(str.strip),
    st.text(st.characters(blacklist_categories=["Cs"])),
    st.lists(st.sampled_from([SIM, ETH, "BRK.B.XNYS", "BTC-PERP.DERIBIT"]), min_size=1, unique=True),
    st.integers(10**18, 2 * 10**18),
    st.integers(0, 10**12),
)


@given(st.lists(HEADLINES, min_size=1, max_size=10))
def test_a_catalog_gives_back_what_was_written_by_time_of_receipt(
    tmp_path_factory: pytest.TempPathFactory, headlines: list[Headline]
) -> None:
    folder = tmp_path_factory.mktemp("catalog")
    write_news_catalog(folder, headlines)

    back = [custom.data for custom in ParquetDataCatalog(folder).query(NewsHeadline)]

    expected = sorted(headlines, key=lambda headline: headline.ts_init)
    assert times(back) == [(each.ts_event, each.ts_init) for each in expected]
    assert [(each.text, each.source) for each in back] == [(each.text, each.source) for each in expected]
    assert [each.instrument_ids for each in back] == [
        [InstrumentId.from_str(name) for name in each.instrument_ids] for each in expected
    ]


def test_a_catalog_is_added_to_but_never_written_over(tmp_path: Path) -> None:
    early, late = [10, 20], [40, 50]
    for received in (late, early):
        write_news_catalog(tmp_path, [Headline("kept", "", (SIM,), 5, time) for time in received])

    for received in (early, [5, 10], [12, 13], [20, 30], [1, 99]):
        with pytest.raises(BadData, match="as the catalog holds headlines of that time, got"):
            write_news_catalog(tmp_path, [Headline("refused", "", (SIM,), 0, time) for time in received])

    back = [custom.data for custom in ParquetDataCatalog(tmp_path).query(NewsHeadline)]
    assert sorted((each.ts_init, each.text) for each in back) == [(time, "kept") for time in early + late]


def test_bytes_give_back_what_was_packed() -> None:
    (headline,) = news_objects([Headline("Höher 🚀 日本", "Wire", (SIM, ETH), 7, 9)])

    back = NewsHeadline.from_bytes(headline.to_bytes())

    assert back == headline
    assert (back.ts_event, back.ts_init) == (7, 9)


class Listener(Actor):
    """Records received bars, and headlines about its instrument, with their time."""

    def __init__(self, own: BarType) -> None:
        super().__init__(ActorConfig(component_id=f"Listener-{own.instrument_id}"))
        self.own = own
        self.received: list[tuple[int, int, str]] = []
        """Clock and ``ts_init``, Unix ns, and text."""

    def on_start(self) -> None:
        self.msgbus.subscribe(topic=HEADLINE_TOPIC, handler=self.handle_data)
        self.subscribe_bars(self.own)

    def on_data(self, data: Data) -> None:
        assert isinstance(data, NewsHeadline)
        if self.own.instrument_id in data.instrument_ids:
            self.received.append((self.clock.timestamp_ns(), data.ts_init, data.text))

    def on_bar(self, bar: Bar) -> None:
        self.received.append((self.clock.timestamp_ns(), bar.ts_init, "bar"))


class Republisher(Actor):
    """Publishes a headline of its own, as a live feed does."""

    def on_start(self) -> None:
        self.publish_data(HEADLINE_TYPE, news_objects([Headline("live", "", (ETH,), 1, 2)])[0])


def run(folder: Path, markets: list[Bars], news_first: bool = True, also: tuple[Actor, ...] = ()) -> list[Listener]:
    """A real backtest on the catalog; a listener for each instrument."""
    types = []
    for bars in markets:
        instrument = perpetual(bars.instrument, fee_bps=0.0)
        types.append(bar_type(instrument.id, bars.interval_ns))
        write_bar_catalog(bars, instrument, types[-1], 1.0, folder)
    data = [BacktestDataConfig(catalog_path=str(folder), data_cls=Bar, bar_types=[str(each)]) for each in types]
    config = BacktestRunConfig(
        engine=BacktestEngineConfig(logging=LoggingConfig(log_level="ERROR")),
        venues=[
            BacktestVenueConfig(name="SIM", oms_type="NETTING", account_type="MARGIN", starting_balances=["1000 USD"])
        ],
        data=[news_data(folder), *data] if news_first else [*data, news_data(folder)],
        raise_exception=True,
        dispose_on_completion=False,
    )
    listeners = [Listener(each) for each in types]
    with built(config, []) as (node, engine):
        engine.add_actors([*listeners, *also])
        node.run()
    return listeners


@pytest.mark.parametrize("news_first", [True, False])
def test_a_headline_arrives_at_its_receipt_among_the_bars_and_never_before(tmp_path: Path, news_first: bool) -> None:
    bars = market(count=10)
    close = bars.ts_event.tolist()
    headlines = [
        Headline("published long ago", "Wire", (SIM,), close[0], close[4] + 1),
        Headline("just after a close", "Wire", (SIM,), close[2], close[2] + 1),
        Headline("just before a close", "Wire", (SIM,), close[6] - 2, close[6] - 1),
        Headline("at a close", "Wire", (SIM,), close[8] - 1, close[8]),
        Headline("at the same close", "Wire", (SIM,), close[8] - 2, close[8]),
    ]
    write_news_catalog(tmp_path, headlines)

    (listener,) = run(tmp_path, [bars], news_first)

    assert all(clock == ts_init for clock, ts_init, _ in listener.received)
    together = ["at a close", "at the same close", "bar"] if news_first else ["bar", "at a close", "at the same close"]
    assert [text for _, _, text in listener.received] == [
        *("bar", "bar", "bar", "just after a close", "bar", "bar", "published long ago", "bar"),
        *("just before a close", "bar", "bar", *together, "bar"),
    ]
    assert {text: ts_init for _, ts_init, text in listener.received if text != "bar"} == {
        headline.text: headline.ts_init for headline in headlines
    }


def test_one_headline_reaches_every_instrument_that_it_names_once(tmp_path: Path) -> None:
    markets = [market(symbol, count=5) for symbol in ("SIMUSD", "ETHUSD", "XYZUSD")]
    start = int(markets[0].ts_event[0])
    about = {"both": (SIM, ETH), "one": (ETH,), "none of them": ("ABC.XNYS",)}
    write_news_catalog(
        tmp_path, [Headline(text, "", names, start, start + 7 + n) for n, (text, names) in enumerate(about.items())]
    )

    listeners = run(tmp_path, markets, also=(Republisher(),))

    texts_by_listener = [[text for _, _, text in listener.received if text != "bar"] for listener in listeners]
    assert texts_by_listener == [["both"], ["live", "both", "one"], []]


def test_no_news_is_no_error(tmp_path: Path) -> None:
    write_news_catalog(tmp_path, [])

    (listener,) = run(tmp_path, [market(count=5)])

    assert [text for _, _, text in listener.received] == ["bar"] * 5
