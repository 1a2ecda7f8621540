"""The table of layouts: those of all kinds of data."""

from nautilus_torchserve.market.layouts.bars import BARS
from nautilus_torchserve.market.layouts.quotes import QUOTES
from nautilus_torchserve.market.layouts.trades import TRADES

ALL_LAYOUTS = (*TRADES, *BARS, *QUOTES)
"""Every layout; names are unique."""
