"""Numbers of several files in common steps, without altering any."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nautilus_torchserve.market.bad_data import BadData
from nautilus_torchserve.market.trades.trades import Instrument


def common_steps(source: str, parts: Sequence[Any], columns: Mapping[str, str]) -> tuple[Instrument, dict[str, Any]]:
    """Join the columns of several parts of one instrument's data, in the finest steps of any.

    Parameters
    ----------
    source : str
        Name of the whole, for messages.
    parts : sequence of Bars, Trades or Quotes
        Each has an ``instrument``, a ``source`` and the columns.
    columns : mapping
        Name of a column -> ``price`` or ``size``, by what it holds.

    Returns
    -------
    instrument : Instrument
        With the precisions of the columns.
    columns : dict of int64 [n]

    Raises
    ------
    BadData
        The parts are of several instruments, or a value does not fit the finest steps.
    """
    instrument = parts[0].instrument
    other = next((part for part in parts if part.instrument.instrument_id != instrument.instrument_id), None)
    if other is not None:
        names = sorted({part.instrument.instrument_id for part in parts})
        raise BadData(f"{source}: expected files of one instrument, got {', '.join(names)}; name one with --instrument")
    finest = {kind: max(getattr(part.instrument, f"{kind}_precision") for part in parts) for kind in ("price", "size")}
    joined = {}
    for name, kind in columns.items():
        scaled = []
        for part in parts:
            factor = 10 ** (finest[kind] - getattr(part.instrument, f"{kind}_precision"))
            values = getattr(part, name)
            if len(values) and factor > 1 and int(np.abs(values).max()) > (2**63 - 1) // factor:
                raise BadData(
                    f"{part.source}: expected {name} below 2**63 steps of 1e-{finest[kind]}, got a larger one"
                )
            scaled.append(values * factor)
        joined[name] = np.concatenate(scaled)
    return Instrument(instrument.symbol, instrument.venue, finest["price"], finest["size"]), joined
