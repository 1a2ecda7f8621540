"""What strategies hear of a live request: its answers, or once for each instrument that there is none."""

from collections.abc import Sequence

import numpy as np
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.trading.inference.live_answers import LiveAnswers
from nautilus_torchserve.trading.inference.messages import InferenceCall, PredictionRequest, RequestOutcome
from nautilus_torchserve.trading.prediction import Prediction, Status

BTC, ETH = InstrumentId.from_str("BTCUSDT.BINANCE"), InstrumentId.from_str("ETHUSDT.BINANCE")
NOW = 1_000


def call(asked: Sequence[tuple[InstrumentId, int, RequestOutcome, float]]) -> InferenceCall:
    """A request about (instrument, event's number and time, fate, answer)."""
    answered = any(fate is RequestOutcome.ANSWERED for _, _, fate, _ in asked)
    return InferenceCall(
        model="tick",
        url="http://127.0.0.1:1",
        version="1.1" if answered else "",
        digest="abc" if answered else "",
        sent_ns=1,
        ended_ns=NOW,
        latency_ns=7,
        error="",
        questions=tuple(PredictionRequest(name, ts, ts, ts, np.zeros(4, np.float32)) for name, ts, _, _ in asked),
        fates=tuple(fate for _, _, fate, _ in asked),
        outputs={"buy": np.array([said for *_, said in asked], dtype=np.float32)} if answered else {},
    )


def heard(answers: LiveAnswers, *asked: tuple[InstrumentId, int, RequestOutcome, float]) -> list[Prediction]:
    return list(answers.predictions(call(asked), "", NOW, lambda instrument_id, _: instrument_id == ETH))


def test_answers_become_predictions_in_the_order_of_the_request() -> None:
    asked = (
        (BTC, 9, RequestOutcome.ANSWERED, 0.5),
        (ETH, 8, RequestOutcome.ANSWERED, 0.25),
        (BTC, 3, RequestOutcome.ANSWERED, 1.0),
    )

    said = heard(LiveAnswers("tick"), *asked)

    assert [(each.instrument_id, each.number, each.outputs["buy"]) for each in said] == [
        (BTC, 9, 0.5),
        (ETH, 8, 0.25),
        (BTC, 3, 1.0),
    ]
    assert {(each.status, each.ts_init, each.version, each.latency_ns) for each in said} == {(Status.OK, NOW, "1.1", 7)}
    assert [each.leaving for each in said] == [False, True, False]


def test_an_instrument_without_an_answer_hears_its_last_good_one_again_once() -> None:
    answers = LiveAnswers("tick")
    heard(answers, (BTC, 9, RequestOutcome.ANSWERED, 0.5), (BTC, 3, RequestOutcome.ANSWERED, 1.0))

    said = heard(
        answers,
        (BTC, 12, RequestOutcome.LATE, 0.9),
        (ETH, 11, RequestOutcome.FAILED, 0.0),
        (BTC, 10, RequestOutcome.EXPIRED, 0.0),
    )

    btc, eth = said
    assert (btc.status, btc.ts_event, btc.feature_ts, btc.number, btc.version) == (Status.DEGRADED, 12, 9, 9, "1.1")
    assert btc.outputs == {"buy": 0.5}  # that of the newest event, not of the answer that came last
    assert (eth.instrument_id, eth.status, eth.outputs, eth.feature_ts) == (ETH, Status.DEGRADED, {}, 0)


def test_what_expired_beside_an_answer_degrades_nothing() -> None:
    said = heard(LiveAnswers("tick"), (BTC, 9, RequestOutcome.ANSWERED, 0.5), (BTC, 3, RequestOutcome.EXPIRED, 0.0))

    assert [each.status for each in said] == [Status.OK]
