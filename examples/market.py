"""The market of the examples: one perpetual and a random walk of its trades. Put your own data here."""

import random

from nautilus_trader.model.data import TradeTick
from nautilus_trader.model.enums import AggressorSide
from nautilus_trader.model.identifiers import TradeId
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.test_kit.providers import TestInstrumentProvider

INSTRUMENT = TestInstrumentProvider.btcusdt_perp_binance()
START_NS = 1_704_067_200_000_000_000
"""2024-01-01T00:00:00Z."""


def random_trades(count: int, seed: int = 1) -> list[TradeTick]:
    """Return trades half a second apart whose buyers move the price up and whose sellers move it down."""
    rng = random.Random(seed)
    ticks, trades = 400_000, []
    for number in range(count):
        side = rng.choice([AggressorSide.BUYER, AggressorSide.SELLER])
        ticks += rng.randint(0, 40) if side == AggressorSide.BUYER else -rng.randint(0, 40)
        ts_ns = START_NS + number * 500_000_000
        price, size = Price(ticks / 10, 1), Quantity(rng.randint(1, 500) / 1000, 3)
        trades.append(TradeTick(INSTRUMENT.id, price, size, side, TradeId(str(number)), ts_ns, ts_ns))
    return trades
