"""Out-of-sample data of a model: those that its fit has not seen."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

import msgspec
import numpy as np

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.price_sketch import Comparison, compare
from nautilus_torchserve.market.trades.trades import BadData, Instrument, Trades
from nautilus_torchserve.serving.model_metadata import FitRecord

MarketData = Trades | Bars
SampleKind = bool | Literal["unknown"]
"""Whether the fit saw some of the data that a run is evaluated on."""
NOT_COMPARED = Comparison(None, "its archive, of an earlier release, keeps none of the prices")


@dataclass(frozen=True)
class Sample:
    """The part of the data that a run is evaluated on."""

    first: int
    """Position of its first event; it ends with the data."""
    in_sample: SampleKind
    """Whether the fit saw some of it."""
    note: str
    """The choice and its reason, in one sentence or more."""


def choose_sample(
    data: MarketData,
    records: Iterable[FitRecord],
    in_sample: bool,
    noun: str,
    beside: Sequence[MarketData] = (),
) -> Sample:
    """Choose where to begin: after the last event that any of the fits saw.

    Data are the fit's where they hold the same prices at the same times, whatever they are called, or have the
    name of the instrument that it was fitted on.

    Parameters
    ----------
    data : Trades or Bars
        All data.
    records : iterable of FitRecord
        Of all models of the run, see `ModelMetadata.fit_records`.
    in_sample : bool
        True takes all data, whatever the fits saw.
    noun : str
        Noun for the events: ``"trades"``.
    beside : sequence of Trades or Bars
        Other instruments of the run. If a model was fitted on one of them, the fit saw common moves of both.

    Raises
    ------
    BadData
        No event is left.
    """
    samples = [_sample(data, record, in_sample, noun, beside) for record in records]
    latest = max(samples, key=lambda sample: (sample.in_sample is True, sample.first))
    doubts = [sample.note for sample in samples if sample.in_sample == "unknown" and sample is not latest]
    return replace(
        latest,
        in_sample=worst(sample.in_sample for sample in samples),
        note=" ".join(dict.fromkeys([latest.note, *doubts])),
    )


def worst(kinds: Iterable[SampleKind]) -> SampleKind:
    """Return True if any is True, else ``"unknown"`` if any is, else False."""
    distinct = set(kinds)
    return True if True in distinct else "unknown" if "unknown" in distinct else False


def _sample(data: MarketData, record: FitRecord, in_sample: bool, noun: str, beside: Sequence[MarketData]) -> Sample:
    """Choose the sample for one fit."""
    total = len(data)
    if record.last_ts_event is None:
        return Sample(
            0,
            "unknown",
            "NOT KNOWN WHETHER IN SAMPLE: the archive does not say what its model's fit saw (training.last_ts_event in "
            f"its model.json); all {total:,} {noun} may be among it.",
        )
    last = record.last_ts_event
    first = int(np.searchsorted(data.ts_event, last, side="right"))
    fitted = record.instrument_id or data.instrument.instrument_id
    comparison = _comparison(data, record)
    saw = _saw(data, record, comparison)
    if saw is not True and not any(_saw(other, record, _comparison(other, record)) for other in beside):
        if saw is None and first:
            return Sample(
                0,
                "unknown",
                f"NOT KNOWN WHETHER IN SAMPLE: the model was fitted on {fitted} up to {utc(last)}, and {first:,} of "
                f"these {total:,} {noun} are no later. Their prices could not be compared with those that the fit "
                f"saw: {comparison.finding}. All are taken as another instrument's.",
            )
        why = f" ({comparison.finding})" if first and record.prices is not None else ""
        return Sample(0, False, f"All {total:,} {noun}: the model was fitted on {fitted}, another instrument{why}.")
    if first == 0:
        return Sample(0, False, f"All {total:,} {noun}: the fit saw none after {utc(last)}, before they begin.")
    same = (
        f"the same prices, as {fitted} ({comparison.finding})"
        if comparison.same
        else fitted
        if saw is not True
        else "the same instrument"
    )
    if in_sample:
        return Sample(
            0,
            True,
            f"IN SAMPLE: the model's fit saw {same} up to {utc(last)}; {first:,} of these {total:,} {noun} are no "
            "later. The result says nothing about how the model does on new data.",
        )
    if first == total:
        raise BadData(
            f"{data.source}: expected {noun} after {utc(last)}, as the model's fit saw {same} until then; "
            f"the data end at {utc(int(data.ts_event[-1]))} (--in-sample runs on them all the same)"
        )
    return Sample(
        first,
        False,
        f"Only the last {total - first:,} of {total:,} {noun}, after {utc(last)}: the model's fit saw {same} "
        "until then.",
    )


def _saw(data: MarketData, record: FitRecord, comparison: Comparison) -> bool | None:
    """Return whether the fit saw these data's instrument; None where it cannot be known."""
    return True if record.instrument_id in (None, data.instrument.instrument_id) else comparison.same


def _comparison(data: MarketData, record: FitRecord) -> Comparison:
    """Return the comparison by prices, or, if the archive keeps none, by the hash of all data under the fit's name."""
    if record.prices is not None:
        return compare(data, msgspec.structs.asdict(record))
    symbol, _, venue = (record.instrument_id or data.instrument.instrument_id).rpartition(".")
    named = Instrument(symbol, venue, data.instrument.price_precision, data.instrument.size_precision)
    if replace(data, instrument=named).sha256 == record.sha256:
        return Comparison(True, "all data are equal")
    return NOT_COMPARED


def utc(ts_ns: int) -> str:
    """Format Unix ns to the second."""
    return datetime.fromtimestamp(ts_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
