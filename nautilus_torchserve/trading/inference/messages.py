"""What is asked of a model and what became of it, as it passes over the message bus: for audit, metrics and tests."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from nautilus_trader.model.identifiers import InstrumentId
from numpy.typing import NDArray

from nautilus_torchserve.wire.news_windows import NewsWindow

STOPPED = "Stopped: the run ended before the answer"
"""Error of the calls that the end of a run cuts off."""
OneInput = NDArray[np.float32] | NewsWindow
"""What a model is asked for one prediction."""


class PredictionRequest(NamedTuple):
    """One prediction asked for."""

    instrument_id: InstrumentId
    """What it is about."""
    number: int
    """Position of its newest event among all that the actor has received of the instrument, from 0."""
    ts_event: int
    """When that event happened at the venue, Unix ns."""
    ts_init: int
    """When it was received, Unix ns."""
    asked: NDArray[np.float32]
    """The features: of ticks float32 [columns], of bars float32 [time_steps, columns]."""


class RequestOutcome(StrEnum):
    """What became of a question."""

    ANSWERED = "ANSWERED"
    """Answered in time."""
    LATE = "LATE"
    """Answered after its deadline: the answer was dropped."""
    EXPIRED = "EXPIRED"
    """Its deadline passed, or newer ones took its place, before it was sent."""
    REFUSED = "REFUSED"
    """The model refused its features: the server works, and other rows are answered."""
    FAILED = "FAILED"
    """There is no answer, or none that could be used."""


@dataclass(frozen=True, eq=False)
class InferenceCall:
    """One request of a live actor, or questions that never were a part of one; published on `calls_topic`."""

    model: str
    """The name asked for."""
    url: str
    """Which server was asked; empty where none was."""
    version: str
    """The version that answered; empty without an answer."""
    digest: str
    """Content digest of the archive that answered; empty without an answer."""
    sent_ns: int
    """When it was sent, by the node's clock, Unix ns; 0: it was not."""
    ended_ns: int
    """When the answer, or the failure, was known on the event loop, Unix ns."""
    latency_ns: int
    """Wall time of the call itself; 0 where nothing was sent."""
    error: str
    """``Kind: words`` of what went wrong; empty where nothing did."""
    questions: tuple[PredictionRequest, ...]
    """In the order of the request's rows: newest first for each instrument."""
    fates: tuple[RequestOutcome, ...]
    """What became of each of them."""
    outputs: Mapping[str, NDArray[np.float32]]
    """Name -> float32 [n], a value for each question; empty without an answer."""


@dataclass(frozen=True)
class ModelHealth:
    """How the servers of a model are, from a moment on; published on `health_topic` at each change."""

    model: str
    """The registered name."""
    url: str
    """Which server."""
    state: str
    """``closed`` (it is asked), ``open`` (it is not) or ``half_open`` (the next request shows), as breakers say."""
    why: str
    """What led to it; empty where it is well."""
    version: str
    """The version that answers there, as last seen."""
    digest: str
    """Content digest of that version's archive."""
    ts_ns: int
    """When, Unix ns."""


def calls_topic(model: str) -> str:
    """Where a model's `InferenceCall`s are published."""
    return f"model.calls.{model}"


def health_topic(model: str) -> str:
    """Where a model's `ModelHealth` is published."""
    return f"model.health.{model}"
