"""Which trades a model may be judged on: those that its fit has not seen."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from market.trades import BadData, Trades


def judged(trades: Trades, training: Mapping[str, Any], in_sample: bool) -> tuple[Trades, str]:
    """Choose the trades to run on.

    Parameters
    ----------
    trades : Trades
        All there are.
    training : mapping
        The model's ``metadata["training"]``.
    in_sample : bool
        True takes all of them, whatever the fit saw.

    Returns
    -------
    Trades
        Those after the last one that the fit saw; all, where it was fitted on another instrument.
    str
        What was chosen and why, one sentence.

    Raises
    ------
    BadData
        None are left.
    """
    name = trades.instrument.instrument_id
    last = int(training["last_ts_event"])
    fitted_on = training.get("instrument_id", name)
    if trades.sha256 != training["sha256"] and fitted_on != name:
        return trades, f"All {len(trades):,} trades: the model was fitted on {fitted_on}, another instrument."
    first = int(np.searchsorted(trades.ts_event, last, side="right"))
    if first == 0:
        return trades, f"All {len(trades):,} trades: the fit saw none after {utc(last)}, before they begin."
    if in_sample:
        return trades, (
            f"IN SAMPLE: the model's fit saw trades up to {utc(last)}, {first:,} of these {len(trades):,} "
            "are no later. The result says nothing about how the model does on new data."
        )
    if first == len(trades):
        raise BadData(
            f"{trades.source}: trades after {utc(last)} expected, the last that the model's fit saw, was none: "
            f"the data end at {utc(int(trades.ts_event[-1]))} (--in-sample runs on them all the same)"
        )
    same = "the same data" if trades.sha256 == training["sha256"] else "the same instrument"
    return trades.between(first, len(trades)), (
        f"Only the last {len(trades) - first:,} of {len(trades):,} trades, after {utc(last)}: "
        f"the model's fit saw {same} until then."
    )


def utc(ts_ns: int) -> str:
    """Unix ns for people, to the second."""
    return datetime.fromtimestamp(ts_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
