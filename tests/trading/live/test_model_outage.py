"""The conditions under which a run has lost its model."""

import numpy as np
import pytest
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.trading.inference.endpoint import SLOW
from nautilus_torchserve.trading.inference.messages import (
    STOPPED,
    InferenceCall,
    ModelHealth,
    PredictionRequest,
    RequestOutcome,
)
from nautilus_torchserve.trading.live.run_record import ModelOutage, ModelWatch

BTC = InstrumentId.from_str("BTCUSDT.BINANCE")
ROW = np.zeros(4, np.float32)


def call(at: int, *fates: RequestOutcome, error: str = "Unavailable: refused") -> InferenceCall:
    questions = tuple(PredictionRequest(BTC, number, at, at, ROW) for number in range(len(fates)))
    return InferenceCall("tick", "http://a", "", "", at, at, 1, error, questions, fates, {})


def health(at: int, state: str, why: str = "", url: str = "http://a") -> ModelHealth:
    return ModelHealth("tick", url, state, why, "", "", at)


def watched(*events: InferenceCall | ModelHealth) -> ModelOutage | None:
    watch = ModelWatch(max_failures=3)
    for event in events:
        if isinstance(event, InferenceCall):
            watch.on_call(event)
        else:
            watch.on_health(event)
    return watch.outage


UP, DOWN = health(1, "closed"), health(9, "open", "Unauthorized: 400")
ANSWERED, FAILED = call(2, RequestOutcome.ANSWERED), call(5, RequestOutcome.FAILED)


def test_a_server_whose_breaker_is_open_is_lost_since_its_first_failure() -> None:
    lost = watched(UP, ANSWERED, FAILED, call(6, RequestOutcome.FAILED, RequestOutcome.FAILED), DOWN)

    assert lost == ModelOutage(5, 3, "http://a: Unauthorized: 400")


@pytest.mark.parametrize(
    "events",
    [
        (UP,),
        (UP, ANSWERED),
        (UP, ANSWERED, FAILED, FAILED),
        (UP, ANSWERED, FAILED, FAILED, FAILED, call(7, RequestOutcome.LATE)),
        (UP, FAILED, call(7, RequestOutcome.REFUSED)),
        (UP, DOWN, health(10, "half_open"), ANSWERED, health(11, "closed")),
        (DOWN, health(9, "closed", url="http://b"), ANSWERED),
        (UP, ANSWERED, health(9, "open", f"{SLOW} of 100 ms")),
        (UP, ANSWERED, *[call(7, RequestOutcome.FAILED, error=STOPPED)] * 5),
        (call(7, RequestOutcome.EXPIRED),),
    ],
    ids=range(10),
)
def test_the_model_is_not_lost(events: tuple[InferenceCall | ModelHealth, ...]) -> None:
    assert watched(*events) is None


@pytest.mark.parametrize(
    ("events", "since", "failed"),
    [
        ((DOWN,), 9, 0),
        ((UP, FAILED), 5, 1),
        ((UP, ANSWERED, FAILED, FAILED, FAILED), 5, 3),
        ((DOWN, health(12, "open", "gone", url="http://b")), 12, 0),
        ((UP, ANSWERED, FAILED, DOWN, health(10, "half_open"), FAILED, FAILED), 5, 3),
    ],
)
def test_the_model_is_lost(events: tuple[InferenceCall | ModelHealth, ...], since: int, failed: int) -> None:
    lost = watched(*events)

    assert lost is not None
    assert (lost.since_ns, lost.failed) == (since, failed)


def test_a_reason_of_any_length_is_cut() -> None:
    lost = watched(health(9, "open", "x" * 10_000))

    assert lost is not None
    assert len(lost.why) < 250
