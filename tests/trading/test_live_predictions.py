"""Predictions of a live call: its responses, or a DEGRADED one for each instrument without a response."""

from collections.abc import Sequence

import numpy as np
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.trading.inference.messages import InferenceCall, PredictionRequest, RequestOutcome
from nautilus_torchserve.trading.prediction import LivePredictions, Prediction, Status

BTC, ETH = InstrumentId.from_str("BTCUSDT.BINANCE"), InstrumentId.from_str("ETHUSDT.BINANCE")
NOW = 1_000
Row = tuple[InstrumentId, int, RequestOutcome, float]
"""Instrument, number and time of the event, outcome, response."""


def call_of(rows: Sequence[Row]) -> InferenceCall:
    is_answered = any(outcome is RequestOutcome.ANSWERED for _, _, outcome, _ in rows)
    return InferenceCall(
        model="tick",
        url="http://127.0.0.1:1",
        version="1.1" if is_answered else "",
        digest="abc" if is_answered else "",
        sent_ns=1,
        ended_ns=NOW,
        latency_ns=7,
        error="",
        requests=tuple(PredictionRequest(name, ts, ts, ts, np.zeros(4, np.float32)) for name, ts, _, _ in rows),
        outcomes=tuple(outcome for _, _, outcome, _ in rows),
        outputs={"buy": np.array([buy for *_, buy in rows], dtype=np.float32)} if is_answered else {},
    )


def predictions_of(live: LivePredictions, *rows: Row) -> list[Prediction]:
    return list(live.of_call(call_of(rows), "", NOW, lambda instrument_id, _: instrument_id == ETH))


def test_responses_become_predictions_in_the_order_of_the_call() -> None:
    rows = (
        (BTC, 9, RequestOutcome.ANSWERED, 0.5),
        (ETH, 8, RequestOutcome.ANSWERED, 0.25),
        (BTC, 3, RequestOutcome.ANSWERED, 1.0),
    )

    predictions = predictions_of(LivePredictions(), *rows)

    assert [(prediction.instrument_id, prediction.number, prediction.outputs["buy"]) for prediction in predictions] == [
        (BTC, 9, 0.5),
        (ETH, 8, 0.25),
        (BTC, 3, 1.0),
    ]
    fields = {
        (prediction.status, prediction.ts_init, prediction.version, prediction.latency_ns) for prediction in predictions
    }
    assert fields == {(Status.OK, NOW, "1.1", 7)}
    assert [prediction.pending_version_change for prediction in predictions] == [False, True, False]


def test_instrument_without_a_response_gets_its_last_good_prediction_once() -> None:
    live = LivePredictions()
    predictions_of(live, (BTC, 9, RequestOutcome.ANSWERED, 0.5), (BTC, 3, RequestOutcome.ANSWERED, 1.0))

    btc, eth = predictions_of(
        live,
        (BTC, 12, RequestOutcome.LATE, 0.9),
        (ETH, 11, RequestOutcome.FAILED, 0.0),
        (BTC, 10, RequestOutcome.EXPIRED, 0.0),
    )

    assert (btc.status, btc.ts_event, btc.feature_ts, btc.number, btc.version) == (Status.DEGRADED, 12, 9, 9, "1.1")
    assert btc.outputs == {"buy": 0.5}  # that of the newest event, not of the response that arrived last
    assert (eth.instrument_id, eth.status, eth.outputs, eth.feature_ts) == (ETH, Status.DEGRADED, {}, 0)


def test_expired_request_beside_a_response_degrades_nothing() -> None:
    rows = (BTC, 9, RequestOutcome.ANSWERED, 0.5), (BTC, 3, RequestOutcome.EXPIRED, 0.0)

    assert [each.status for each in predictions_of(LivePredictions(), *rows)] == [Status.OK]
