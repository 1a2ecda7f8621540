"""Requests to a model and their outcomes, as published on the message bus for audit, metrics and tests."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from nautilus_trader.model.identifiers import InstrumentId
from numpy.typing import NDArray

from nautilus_torchserve.wire.news_windows import NewsWindow

STOPPED = "Stopped: the run ended before the answer"
"""Error of the requests that the end of a run cuts off."""
ModelInput = NDArray[np.float32] | NewsWindow
"""Input of a model for one prediction."""


class PredictionRequest(NamedTuple):
    """A request for one prediction."""

    instrument_id: InstrumentId
    """The instrument that it is about."""
    number: int
    """Position of its newest event among all that the actor has received of the instrument, from 0."""
    ts_event: int
    """When that event happened at the venue, Unix ns."""
    ts_init: int
    """When it was received, Unix ns."""
    features: NDArray[np.float32]
    """Of ticks float32 [columns], of bars float32 [time_steps, columns]."""


class RequestOutcome(StrEnum):
    """The outcome of a request for one prediction."""

    ANSWERED = "ANSWERED"
    """The response arrived in time."""
    LATE = "LATE"
    """The response arrived after the deadline and was dropped."""
    EXPIRED = "EXPIRED"
    """Its deadline passed, or newer requests took its place, before it was sent."""
    REFUSED = "REFUSED"
    """The model refused its features: the server works, and other rows get a response."""
    FAILED = "FAILED"
    """There is no usable response."""


@dataclass(frozen=True, eq=False)
class InferenceCall:
    """One call of a live actor to a server, or requests that were never sent; published on `calls_topic`."""

    model: str
    """The requested name."""
    url: str
    """The server's; empty where nothing was sent."""
    version: str
    """The version that responded; empty without a response."""
    digest: str
    """Content digest of the archive that responded; empty without a response."""
    sent_ns: int
    """When it was sent, by the node's clock, Unix ns; 0 where nothing was sent."""
    ended_ns: int
    """When the response, or the failure, was known on the event loop, Unix ns."""
    latency_ns: int
    """Wall time of the call itself; 0 where nothing was sent."""
    error: str
    """``Kind: message`` of an error; empty without one."""
    requests: tuple[PredictionRequest, ...]
    """In the order of the call's rows: newest first for each instrument."""
    outcomes: tuple[RequestOutcome, ...]
    """The outcome of each of them."""
    outputs: Mapping[str, NDArray[np.float32]]
    """Name -> float32 [n], a value for each request; empty without a response."""


@dataclass(frozen=True)
class ModelHealth:
    """The state of one of a model's servers from a moment on; published on `health_topic` at each change."""

    model: str
    """The registered name."""
    url: str
    """The server's."""
    state: str
    """State of its circuit breaker: ``closed`` (it gets requests), ``open`` (it gets none) or ``half_open`` (the next
    request decides)."""
    why: str
    """Reason of an ``open`` breaker; empty otherwise."""
    version: str
    """The version that responds there, as last seen."""
    digest: str
    """Content digest of that version's archive."""
    ts_ns: int
    """Time of the change, Unix ns."""

    def __str__(self) -> str:
        state = f"{self.model} {self.version} ({self.digest[:12]}) at {self.url}: {self.state}"
        return f"{state}: {self.why}" if self.why else state


def calls_topic(model: str) -> str:
    """Return the topic of a model's `InferenceCall`s."""
    return f"inference.calls.{model}"


def health_topic(model: str) -> str:
    """Return the topic of a model's `ModelHealth`."""
    return f"model.health.{model}"
