"""Headlines for tests, and a real engine that runs an actor on them."""

from collections.abc import Sequence

from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.common.actor import Actor
from nautilus_trader.config import LoggingConfig
from nautilus_trader.core.data import Data
from nautilus_trader.model.data import CustomData
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.identifiers import ClientId, InstrumentId
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import Money

from nautilus_torchserve.market.news.headlines import Headline
from nautilus_torchserve.trading.backtest.news.market import NEWS_CLIENT, news_objects
from nautilus_torchserve.trading.news.headline import HEADLINE_TYPE

SIM, ETH, ELSEWHERE = "SIMUSD.SIM", "ETHUSD.SIM", "OTHER.XNYS"
SECOND = 10**9
TEXTS = (
    "Profit rose, record order",
    "The bank warns of a loss",
    "Shares fell low today",
    "Company wins contract",
    "Weak sales, strong debt",
    "The outlook is not expected",
)
"""Whose scores differ, as the untrained model sees them."""
UNREADABLE = "\N{ROCKET}\N{ROCKET}\N{ROCKET}"


def headline(text: str, received_ns: int, *about: str, delay_ns: int = SECOND) -> Headline:
    """A headline, about SIMUSD by default."""
    return Headline(text, "wire", about or (SIM,), received_ns - delay_ns, received_ns)


def as_data(headlines: Sequence[Headline]) -> list[Data]:
    """Headlines as an engine takes them."""
    return [CustomData(HEADLINE_TYPE, each) for each in news_objects(headlines)]


def run_actor(
    actor: Actor, instruments: Sequence[Instrument], data: Sequence[list[Data]], topics: Sequence[str]
) -> list[Data]:
    """Run an actor in a real engine over data, those of one time in this order; return the data it publishes."""
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(log_level="ERROR")))
    published: list[Data] = []
    try:
        for venue in dict.fromkeys(instrument.id.venue for instrument in instruments):
            balances = [Money(1_000, instruments[0].quote_currency)]
            engine.add_venue(venue, OmsType.NETTING, AccountType.MARGIN, starting_balances=balances)
        for instrument in instruments:
            engine.add_instrument(instrument)
        engine.add_actor(actor)
        for topic in topics:
            engine.kernel.msgbus.subscribe(topic=topic, handler=published.append)
        for item in data:
            custom = isinstance(item[0], CustomData)
            engine.add_data(item, client_id=ClientId(NEWS_CLIENT) if custom else None)
        engine.run()
        return published
    finally:
        engine.dispose()


def ids(*names: str) -> list[InstrumentId]:
    """Instruments by name."""
    return [InstrumentId.from_str(name) for name in names]
