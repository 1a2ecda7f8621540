"""Imbalance, spread and move of each quote; the library stacks the last twenty."""

from nautilus_trader.model.data import QuoteTick


class Features:
    def __init__(self, instrument_ids):
        self.middle = None

    def update(self, quote: QuoteTick):
        bid, ask = quote.bid_price.as_double(), quote.ask_price.as_double()
        bid_size, ask_size = quote.bid_size.raw, quote.ask_size.raw
        middle, before = (bid + ask) / 2, self.middle
        self.middle = middle
        if before is None or not bid_size + ask_size:
            return None
        return (
            (bid_size - ask_size) / (bid_size + ask_size),
            1e4 * (ask - bid) / middle,
            1e4 * (middle / before - 1),
        )
