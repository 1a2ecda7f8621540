"""Which data a model may be judged on: those that its fit has not seen."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from market.trades import BadData, Instrument, Trades


class MarketData(Protocol):
    """Trades or bars of one instrument."""

    @property
    def instrument(self) -> Instrument: ...
    @property
    def source(self) -> str: ...
    @property
    def ts_event(self) -> NDArray[np.int64]: ...
    @property
    def sha256(self) -> str: ...
    def __len__(self) -> int: ...


def judged(trades: Trades, training: Mapping[str, Any], in_sample: bool) -> tuple[Trades, str]:
    """The trades to run on, and what was chosen and why in one sentence; see `first_judged`."""
    first, note = first_judged(trades, training, in_sample, "trades")
    return (trades.between(first, len(trades)) if first else trades), note


def fitted_on(data: MarketData, training: Mapping[str, Any]) -> bool:
    """Whether the model was fitted on this instrument."""
    name = data.instrument.instrument_id
    return data.sha256 == training.get("sha256") or training.get("instrument_id", name) == name


def first_judged(
    data: MarketData, training: Mapping[str, Any], in_sample: bool, noun: str, beside_fitted: bool = False
) -> tuple[int, str]:
    """Choose where to begin.

    Parameters
    ----------
    data : Trades or Bars
        All there are.
    training : mapping
        The model's ``metadata["training"]``; empty where its archive does not say.
    in_sample : bool
        True takes all of them, whatever the fit saw.
    noun : str
        What they are: ``"trades"``.
    beside_fitted : bool
        True where the same run trades the instrument that the model was fitted on: what moved both
        then was in what the fit saw.

    Returns
    -------
    int
        Position of the first after the last one that the fit saw; 0 where it was fitted on another instrument.
    str
        What was chosen and why, one sentence.

    Raises
    ------
    BadData
        None are left.
    """
    total = len(data)
    if not training or "last_ts_event" not in training:
        return 0, (
            f"IN SAMPLE UNKNOWN: the archive does not say what its model's fit saw (training.last_ts_event in its "
            f"model.json), all {total:,} {noun} may be among it; the result may say nothing about new data."
        )
    last = int(training["last_ts_event"])
    other = None if fitted_on(data, training) else training["instrument_id"]
    if other is not None and not beside_fitted:
        return 0, f"All {total:,} {noun}: the model was fitted on {other}, another instrument."
    first = int(np.searchsorted(data.ts_event, last, side="right"))
    if first == 0:
        return 0, f"All {total:,} {noun}: the fit saw none after {utc(last)}, before they begin."
    if in_sample:
        return 0, (
            f"IN SAMPLE: the model's fit saw {noun} up to {utc(last)}, {first:,} of these {total:,} "
            "are no later. The result says nothing about how the model does on new data."
        )
    if first == total:
        raise BadData(
            f"{data.source}: {noun} after {utc(last)} expected, the last that the model's fit saw, was none: "
            f"the data end at {utc(int(data.ts_event[-1]))} (--in-sample runs on them all the same)"
        )
    same = "the same data" if data.sha256 == training.get("sha256") else other or "the same instrument"
    return first, (
        f"Only the last {total - first:,} of {total:,} {noun}, after {utc(last)}: "
        f"the model's fit saw {same} until then."
    )


def utc(ts_ns: int) -> str:
    """Unix ns for people, to the second."""
    return datetime.fromtimestamp(ts_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
