"""The venue's quotes beside trades or bars: which of these have quotes, and which quotes a run needs."""

from dataclasses import replace
from typing import TypeVar

import numpy as np
from nautilus_trader.model.instruments import Instrument

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.quotes.quotes import Quotes
from nautilus_torchserve.market.trades.trades import BadData, Trades, utc_text
from nautilus_torchserve.trading.instruments.conform import conform
from nautilus_torchserve.trading.instruments.instruments import check_quotes
from nautilus_torchserve.trading.instruments.names import engine_name

T = TypeVar("T", Trades, Bars)


def within_quotes(data: T, quotes: Quotes) -> T:
    """Return the trades or bars of the quotes' period; the others are left out, and counted in the notes.

    Raises
    ------
    BadData
        The quotes are of another instrument or of another time.
    """
    name, quoted = data.instrument.instrument_id, quotes.instrument.instrument_id
    noun = type(data).__name__.lower()
    if engine_name(name).upper() != engine_name(quoted).upper():
        raise BadData(f"{quotes.source}: expected quotes of {name}, as the {noun}, got {quoted}")
    period = f"{utc_text(quotes.ts_event[0])} to {utc_text(quotes.ts_event[-1])}"
    first = int(np.searchsorted(data.ts_event, quotes.ts_event[0]))
    stop = int(np.searchsorted(data.ts_event, quotes.ts_event[-1], side="right"))
    if first == stop:
        time = f"{utc_text(data.ts_event[0])} to {utc_text(data.ts_event[-1])}"
        raise BadData(f"{quotes.source}: expected quotes of the time of the {noun}, {time}, got some of {period}")
    after = len(data) - stop
    if not (first or after):
        return data
    note = (
        f"{first + after:,} of {len(data):,} {noun} were left out, {first:,} before and {after:,} after the quotes of "
        f"{period}."
    )
    return replace(data.between(first, stop), notes=(*data.notes, note))


def quotes_in_force(quotes: Quotes, run: Trades | Bars, instrument: Instrument) -> Quotes:
    """Return the quotes in force from a run's first event to its end, in the instrument's decimals.

    Parameters
    ----------
    run : Trades or Bars
        Events within the quotes' period.

    Raises
    ------
    BadData
        A price or a size that the instrument or NautilusTrader cannot have.
    """
    last_ns = run.ts_event[-1] if isinstance(run, Bars) else run.ts_init[-1]
    first, stop = np.searchsorted(quotes.ts_event, [run.ts_event[0], last_ns], side="right")
    return check_quotes(conform(quotes.between(int(first) - 1, int(stop)), instrument))
