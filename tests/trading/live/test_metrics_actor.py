"""Scraped metrics agree with the run."""

import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from audited_run import DIGEST, audited_run, call_of, prediction_on
from nautilus_trader.common.actor import Actor
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.instruments import Instrument
from scraped import assert_equal_to_log, of, scrape, value
from small_trades import MS, START, small_market

from nautilus_torchserve.audit.opening import existing_log
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.decision import HALT_TOPIC, Halt
from nautilus_torchserve.trading.inference.messages import ModelHealth, PredictionRequest, RequestOutcome, health_topic
from nautilus_torchserve.trading.instruments.instruments import perpetual
from nautilus_torchserve.trading.live.audit.actor import AuditActor, AuditActorConfig
from nautilus_torchserve.trading.live.metrics.actor import MetricsActor, MetricsActorConfig, TradingMetrics
from nautilus_torchserve.trading.live.parity.recorded_run import find_session
from nautilus_torchserve.trading.prediction import Prediction, Status

BTC = InstrumentId.from_str("BTCUSDT.BINANCE")


def predictions(instrument: Instrument) -> list[Prediction]:
    """Return predictions to go long on 1.0 at 40, no response at 60, short on 1.1 at 70."""
    lost = {"status": Status.DEGRADED, "ts_event": START + 6_000 * MS, "ts_init": START + 6_004 * MS, "latency_ns": 0}
    return [
        prediction_on(40, 0.75, 0.125, instrument),
        prediction_on(40, 0.75, 0.125, instrument, **lost),
        prediction_on(70, 0.125, 0.75, instrument, version="1.1", latency_ns=20 * MS, ts_init=START + 7_021 * MS),
    ]


def metrics_actor(instrument: Instrument) -> MetricsActor:
    return MetricsActor(MetricsActorConfig(models=["tick"], instrument_ids=[instrument.id]))


def test_a_scrape_agrees_with_the_log_and_the_engine(tmp_path: Path) -> None:
    url, metrics_actors = f"parquet:{tmp_path}", []

    def actors(instrument: Instrument) -> list[Actor]:
        audit = AuditActor(AuditActorConfig(url=url, models=["tick"], instrument_ids=[instrument.id]))
        metrics_actors.append(metrics_actor(instrument))
        return [audit, metrics_actors[0]]

    with audited_run(predictions, actors) as engine:
        (metrics,) = metrics_actors
        port = metrics.port
        assert port is not None
        samples = scrape(port)
        orders = engine.cache.orders()

    log = existing_log(url)
    assert_equal_to_log(samples, log, find_session(log).run_id)
    assert of(samples, "model_questions_total", "model", "fate") == {("tick", "ANSWERED"): 2, ("tick", "FAILED"): 1}
    assert of(samples, "model_request_errors_total", "kind") == {("NoConnection",): 1}
    assert value(samples, "trading_order_events_total", event="initialized") == len(orders) == 3
    assert value(samples, "trading_fills_total") == sum(len(order.trade_ids) for order in orders)
    assert of(samples, "trading_filled_quantity_total", "model", "version", "side") == {
        ("tick", "1.0", "buy"): 0.01,
        ("tick", "1.1", "sell"): 0.02,
        ("none", "none", "buy"): 0.01,
    }
    assert of(samples, "model_prediction_age_seconds_sum", "version") == {
        ("1.0",): pytest.approx(0.004),
        ("1.1",): pytest.approx(0.021),
    }
    latency = {
        float(dict(labels)["le"]): number
        for (name, labels), number in samples.items()
        if name == "model_request_latency_seconds_bucket"
    }
    assert (latency[0.003], latency[0.02], latency[float("inf")]) == (2, 3, 3)  # 0 of the failed one, 3 and 20 ms


def test_positions_are_labelled_with_the_version_that_opened_them() -> None:
    metrics_actors: list[MetricsActor] = []
    positions: list[dict[tuple[str, ...], float]] = []

    def actors(instrument: Instrument) -> list[Actor]:
        metrics_actors.append(metrics_actor(instrument))
        return [metrics_actors[0], _PositionScraper(metrics_actors[0], positions)]

    with audited_run(predictions, actors):
        pass

    assert positions == [{}, {("tick", "1.0"): 0.01}, {("tick", "1.1"): -0.01}]


class _PositionScraper(Actor):
    """Scrapes after 3, 5 and 8 seconds of the market's time."""

    def __init__(self, metrics: MetricsActor, positions: list[dict[tuple[str, ...], float]]) -> None:
        super().__init__()
        self._metrics, self._positions = metrics, positions

    def on_start(self) -> None:
        for second in (3, 5, 8):
            self.clock.set_time_alert_ns(f"look-{second}", START + second * 1_000 * MS, self._look)

    def _look(self, _: object) -> None:
        port = self._metrics.port
        assert port is not None
        self._positions.append(of(scrape(port), "trading_position", "model", "version"))


def test_breakers_and_versions_are_labelled_with_the_server() -> None:
    metrics_actors: list[MetricsActor] = []
    url, other = "http://a:8080", "http://b:8080"

    def health(url: str, state: str, version: str) -> ModelHealth:
        return ModelHealth("tick", url, state, "", version, DIGEST, START)

    with audited_run(
        predictions, lambda instrument: [metrics_actors.append(metrics_actor(instrument)) or metrics_actors[0]]
    ) as engine:
        (metrics,) = metrics_actors
        assert metrics.port is not None
        for event in (health(url, "closed", "1.0"), health(other, "open", ""), health(url, "half_open", "1.1")):
            engine.kernel.msgbus.publish(topic=health_topic("tick"), msg=event)
        engine.kernel.msgbus.publish(topic=HALT_TOPIC, msg=Halt("enough", START))
        samples = scrape(metrics.port)

    assert of(samples, "model_breaker_state", "url", "state") == {(url, "half_open"): 1, (other, "open"): 1}
    assert of(samples, "model_version_info", "url", "version") == {(url, "1.1"): 1}
    assert value(samples, "trading_halts_total") == 1


def test_late_responses_and_requests_that_were_never_sent_are_counted_by_fate() -> None:
    metrics = TradingMetrics(dict)
    (answered, late, expired) = (question(number) for number in range(3))
    call = replace(
        call_of(prediction_on(40, 0.75, 0.125, perpetual(small_market().instrument, 1.0))),
        requests=(answered, late),
        outcomes=(RequestOutcome.ANSWERED, RequestOutcome.LATE),
        latency_ns=40 * MS,
        error="DeadlinePassed: late",
    )
    unsent = replace(call, requests=(expired,), outcomes=(RequestOutcome.EXPIRED,), sent_ns=0, latency_ns=0, url="")

    metrics.record_call(call)
    metrics.record_call(unsent)

    counted = metrics.registry.get_sample_value
    for fate in (RequestOutcome.ANSWERED, RequestOutcome.LATE, RequestOutcome.EXPIRED):
        assert counted("model_questions_total", {"model": "tick", "fate": fate.value}) == 1
    assert counted("model_request_latency_seconds_sum", {"model": "tick", "url": call.url}) == 0.04
    assert counted("model_request_latency_seconds_count", {"model": "tick", "url": ""}) is None
    assert counted("model_request_rows_sum", {"model": "tick"}) == 2
    assert counted("model_request_errors_total", {"model": "tick", "url": call.url, "kind": "DeadlinePassed"}) == 1


def question(number: int) -> PredictionRequest:
    return PredictionRequest(BTC, number, START, START, np.zeros(4, np.float32))


class _FailingActor(Actor):
    handler_errors = 3


def test_handler_errors_are_labelled_with_the_component() -> None:
    metrics_actors: list[MetricsActor] = []

    with audited_run(
        predictions, lambda instrument: [metrics_actors.append(metrics_actor(instrument)) or metrics_actors[0]]
    ) as engine:
        (metrics,) = metrics_actors
        assert metrics.port is not None
        metrics.watch([*engine.trader.actors(), *engine.trader.strategies(), _FailingActor()])
        samples = scrape(metrics.port)

    errors = of(samples, "trading_handler_errors_total", "component")
    assert {component.partition("-")[0]: count for (component,), count in errors.items()} == {"_FailingActor": 3}
    assert ("trading_handler_errors_total", (("component", metrics.id.value),)) in samples


def test_the_port_is_closed_at_the_end_and_one_that_is_taken_is_an_error() -> None:
    metrics_actors: list[MetricsActor] = []
    with audited_run(
        predictions, lambda instrument: [metrics_actors.append(metrics_actor(instrument)) or metrics_actors[0]]
    ):
        port = metrics_actors[0].port
        assert port is not None

    assert metrics_actors[0].port is None
    with socket.create_server(("127.0.0.1", port)):  # free again

        def taken(instrument: Instrument) -> list[Actor]:
            return [MetricsActor(MetricsActorConfig(models=["tick"], instrument_ids=[instrument.id], port=port))]

        with pytest.raises(OSError, match="Address already in use"), audited_run(predictions, taken):
            pass


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"port": -1}, "expected port of 0 to 65535, got -1"),
        ({"instrument_ids": []}, "expected instrument_ids of at least 1 instrument, got none"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        MetricsActorConfig(**{"models": ["tick"], "instrument_ids": [BTC], **wrong})
