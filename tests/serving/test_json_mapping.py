"""Models of another make: JSON requests and answers as a spec maps them, over a real server, and traded on."""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
from nautilus_trader.model.data import TradeTick
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.features.schema import Column, FeatureSchema
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.models.json_mapping import JsonMapping, JsonValue
from nautilus_torchserve.models.spec import FeatureSet, ModelSpec, Output
from nautilus_torchserve.serving.client.client import InferenceClient, connect
from nautilus_torchserve.serving.client.json_client import check_request, fill_request, parse_answer, read_output
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.trading.backtest.features.settings import FeatureBacktestSettings
from nautilus_torchserve.trading.backtest.prefetch.requests import predict_rows
from nautilus_torchserve.trading.backtest.run import run_backtest
from nautilus_torchserve.trading.features.actor import FeatureActorConfig
from nautilus_torchserve.trading.inference.config import DispatcherConfig
from nautilus_torchserve.trading.inference.dispatcher import InferenceDispatcher
from nautilus_torchserve.trading.inference.messages import InferenceCall, PredictionRequest
from nautilus_torchserve.trading.prediction import Prediction
from nautilus_torchserve.trading.prediction_strategy import PredictionStrategy, PredictionStrategyConfig
from nautilus_torchserve.user_error import InvalidArgument
from nautilus_torchserve.wire import errors

HANDLER = '''
def handle(data, context):
    """Answer each row by its first value: a good answer below 10, else one that is none."""
    return None if data is None else [answer(request["body"]["row"]) for request in data]

def answer(row):
    kind = row[0]
    if kind == 14:
        raise ValueError("a row that the handler fails on")
    wrong = {10: {"other": 1}, 11: {"up": "high", "down": 0.5}, 12: {"up": float("nan"), "down": 0.5},
             13: "<html>busy</html>", 15: {"up": 0.9, "down": 0.9}, 16: {"up": 1e300, "down": 0}}
    up = min(max(0.5 + kind / 100, 0.0), 1.0)
    return wrong.get(kind, {"up": up, "down": 1 - up})
'''
SCHEMA = FeatureSchema("pair/1", (Column("move", "bps"), Column("size", "1")), window=2)
MAPPING = JsonMapping(request={"row": "$row"}, outputs={"up": "/up", "down": "/down"}, sum_to_one=True)


class Moves:
    """Move of the price since the last trade, and the size."""

    def __init__(self, instrument_ids: Sequence[object]) -> None:
        self.last: float | None = None

    def update(self, trade: TradeTick) -> list[float] | None:
        last, self.last = self.last, trade.price.as_double()
        if last is None:
            return None
        move = 1e4 * (self.last / last - 1)
        return [14.0 if trade.ts_event % 7 == 0 else min(move, 9.0), trade.size.as_double()]


SPEC = ModelSpec(
    name="pair",
    features=FeatureSet(data=("trades",), schema=f"{__name__}:SCHEMA", streaming=f"{__name__}:Moves"),
    outputs=(Output("up"), Output("down")),
    mapping=MAPPING,
)


class FollowConfig(PredictionStrategyConfig, kw_only=True, frozen=True):
    """Configuration of `Follow`."""


class Follow(PredictionStrategy):
    """Long where UP is likelier."""

    def act_on(self, prediction: Prediction) -> str:
        assert prediction.archive_digest == "unknown"
        wanted = self.config.trade_size * (1 if prediction.outputs["up"] > 0.5 else -1)
        change = wanted - self.portfolio.net_position(self.config.instrument_id)
        return (
            self.order(OrderSide.BUY if change > 0 else OrderSide.SELL, abs(change), prediction) if change else "held"
        )


@pytest.fixture(scope="module")
def served(tick_server: TorchServe, tick_archive: Path) -> Iterator[TorchServe]:
    """The session's server with a model of another make, ``pair`` 2.1, beside its own."""
    archive = tick_archive.parent / "pair.mar"
    manifest = {"runtime": "python", "model": {"modelName": "pair", "handler": "pair.py", "modelVersion": "2.1"}}
    with ZipFile(archive, "w") as members:
        members.writestr("pair.py", HANDLER)
        members.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
    manager = tick_server.management()
    manager.register(archive.name, model_name="pair")
    manager.wait_ready("pair", "2.1")
    yield tick_server
    manager.unregister("pair", "2.1")
    archive.unlink()


def client_of(server: TorchServe, **arguments: Any) -> InferenceClient:
    settings: dict[str, Any] = {"version": "2.1", "schema": SCHEMA, "spec": SPEC, "token": server.token, **arguments}
    return connect(server.inference_url, settings.pop("model", "pair"), settings.pop("version"), **settings)


def test_rows_that_a_model_answers_wrongly_fail_alone(served: TorchServe) -> None:
    expected = {
        10: (errors.OutputMissing, r"/predictions/pair/2\.1: expected output up at '/up', got \{'other': 1\}"),
        11: (errors.OutputNotNumeric, "expected output up at '/up' as a number, got high"),
        12: (errors.OutputNotFinite, "expected finite outputs, got nan as up"),
        13: (errors.NotJson, "expected an answer in JSON, got 17 bytes that begin with '<html>busy</html>'"),
        14: (errors.PredictionFailed, "Prediction failed"),
        15: (errors.OutputOutOfRange, "expected a sum of 1 of up, down, got 1.8"),
        16: (errors.OutputNotFinite, "expected finite outputs, got inf as up"),
    }
    with client_of(served) as client:
        assert client.metadata.max_rows == 1
        good = predict_rows(client, np.array([[1, 5], [2, 5]], dtype=np.float32))
        responses = {kind: predict_rows(client, np.array([[kind, 5]], dtype=np.float32)) for kind in expected}

    np.testing.assert_array_equal(good.outputs[:, 0], np.array([0.51, 0.52], dtype=np.float32))
    for kind, (error, message) in expected.items():
        assert type(responses[kind].errors[0]) is error
        with pytest.raises(error, match=message):
            raise responses[kind].errors[0]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"version": None}, InvalidArgument, "pair at http.*: expected a version .* got none: the answers of a model"),
        ({"version": "7.0"}, errors.UnknownModel, r"/predictions/pair/7\.0: 404: Model version: 7\.0 does not exist"),
        (
            {"model": "tick", "version": "1.0"},
            errors.SchemaMismatch,
            "got one that describes itself: leave the mapping",
        ),
    ],
)
def test_a_model_that_the_mapping_is_not_for_is_refused_when_connecting(
    served: TorchServe, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        client_of(served, **arguments)


def test_a_model_of_another_make_is_traded_on_in_both_modes(
    served: TorchServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHSERVE_TOKEN", served.token or "")
    trades = load(None, trades=80, seed=1)
    settings = FeatureBacktestSettings(
        url=served.inference_url,
        model="pair",
        version="2.1",
        spec=f"{__name__}:SPEC",
        strategy_path=f"{__name__}:Follow",
    )

    inline, prefetched = (run_backtest([trades], replace(settings, mode=mode)) for mode in ("inline", "prefetch"))

    failed = sum(int(time) % 7 == 0 for time in trades.ts_event[1:])
    for result in (inline, prefetched):
        assert not result.gave_up
        assert result.failed == failed > 0
        assert "PredictionFailed" in result.last_error
        assert len(result.predictions) + result.not_arrived == 79 - failed
        assert result.metadata.archive_digest == "unknown"
        assert len(result.fills) > 5
    pd.testing.assert_frame_equal(inline.instruments[0].fills, prefetched.instruments[0].fills, check_exact=True)


def test_live_requests_that_were_queued_together_are_sent_once_each_and_fail_alone(
    served: TorchServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHSERVE_TOKEN", served.token or "")
    instrument_id = InstrumentId.from_str("SIMUSD.SIM")
    config = FeatureActorConfig(
        spec=f"{__name__}:SPEC",
        instrument_ids=[instrument_id],
        url=served.inference_url,
        model="pair",
        version="2.1",
        live=DispatcherConfig(deadline_ns=60_000_000_000),
    )
    calls: list[InferenceCall] = []

    async def run() -> None:
        dispatcher = InferenceDispatcher(
            config,
            SCHEMA,
            None,
            loop=asyncio.get_running_loop(),
            now_ns=time.time_ns,
            has_exposure=lambda _: False,
            deliver=lambda call, _: calls.append(call),
            on_health=lambda _: None,
        )
        while not dispatcher.is_available:
            await asyncio.sleep(0.002)
        for number, kind in enumerate((1, 10, 2, 11, 3)):
            row, now_ns = np.array([kind, 5], dtype=np.float32), time.time_ns()
            dispatcher.submit(PredictionRequest(instrument_id, number, now_ns, now_ns, row))
        while len(calls) < 5:
            await asyncio.sleep(0.002)
        dispatcher.close()

    asyncio.run(asyncio.wait_for(run(), 60))

    by_number = {call.requests[0].number: call for call in calls}
    assert [len(call.requests) for call in calls] == [1] * 5
    assert [str(by_number[number].outcomes[0]) for number in range(5)] == [
        *("ANSWERED", "FAILED", "ANSWERED", "FAILED", "ANSWERED")
    ]
    assert by_number[1].error.startswith("OutputMissing")
    assert by_number[3].error.startswith("OutputNotNumeric")
    assert by_number[4].digest == "unknown"


def test_an_archive_of_another_make_is_not_run_in_process(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"expected the url of a server, http://.*runs in TorchServe alone"):
        connect(f"mar:{tmp_path}/pair.mar", "pair", "2.1", spec=SPEC)


LABELS = [{"label": "down", "score": 0.2}, {"label": "up", "score": 0.7}]


@pytest.mark.parametrize(
    ("answer", "place", "expected"),
    [
        (0.5, "", 0.5),
        ([0.1, 0.9], "/1", 0.9),
        ({"spread": 2}, "/spread", 2.0),
        ({"a/b": {"~": [[3.5]]}}, "/a~1b/~0/0/0", 3.5),
        (LABELS, "/label=up/score", 0.7),
        ({"label": "up"}, JsonValue("/label", {"up": 1.0, "down": -1.0}), 1.0),
        ({"spread": 2}, "/0", errors.OutputMissing),
        ([0.1], "/1", errors.OutputMissing),
        ([0.1], "/-1", errors.OutputMissing),
        ([*LABELS, LABELS[0]], "/label=down/score", errors.OutputMissing),
        (LABELS, "/label=flat/score", errors.OutputMissing),
        (None, "/spread", errors.OutputMissing),
        ({"spread": True}, "/spread", errors.OutputNotNumeric),
        ({"spread": None}, "/spread", errors.OutputNotNumeric),
        ({"spread": "0.5"}, "/spread", errors.OutputNotNumeric),
        ({"spread": [0.5]}, "/spread", errors.OutputNotNumeric),
        ({"label": "flat"}, JsonValue("/label", {"up": 1.0}), errors.OutputNotNumeric),
        ({"label": 3}, JsonValue("/label", {"up": 1.0}), errors.OutputNotNumeric),
    ],
)
def test_an_output_is_read_from_its_place_or_refused(
    answer: Any, place: str | JsonValue, expected: float | type[Exception]
) -> None:
    received = parse_answer(json.dumps(answer).encode())
    if isinstance(expected, float):
        assert read_output(received, "spread", place) == expected
    else:
        with pytest.raises(expected, match="expected output spread at '/"):
            read_output(received, "spread", place)


def test_a_request_holds_the_row_its_columns_and_constants() -> None:
    row = np.array([1.5, 2.5], dtype=np.float32)
    template = {"rows": ["$row"], "by_name": {"move": "$move", "size": "$size"}, "currency": "$$", "n": 3}

    check_request(template, ("move", "size"), "pair")

    by_name = {"move": 1.5, "size": 2.5}
    assert fill_request(template, row, ("move", "size")) == {
        "rows": [[1.5, 2.5]],
        "by_name": by_name,
        "currency": "$",
        "n": 3,
    }
    window = np.stack([row, row + 1])
    assert fill_request(["$row", "$size"], window, ("move", "size")) == [[[1.5, 2.5], [2.5, 3.5]], [2.5, 3.5]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"outputs": {"up": "up", "down": "/d"}}, "outputs.up: expected a JSON pointer such as /predictions/0/up"),
        ({"outputs": ["/up", "/down"]}, "expected a mapping's outputs as a dict of JSON pointers, got"),
        ({"outputs": {"up": "/up"}}, "pair: expected a mapping of the outputs up, down, got one of up"),
        ({"request": {"row": "$moves"}}, r"expected \$row or \$move, \$size in the mapping's request, got \$moves"),
        ({"request": {"row": ["$move"]}}, r"expected \$row or every column .* got no \$size"),
        ({"request": {"row": {1, 2}}}, "expected a mapping's request in JSON types, got .*set"),
    ],
)
def test_a_mapping_that_does_not_suit_the_spec_is_refused(fields: dict[str, Any], message: str) -> None:
    def declare() -> None:
        mapping = replace(MAPPING, **fields)
        check_request(mapping.request, ("move", "size"), replace(SPEC, mapping=mapping).name)

    with pytest.raises(InvalidArgument, match=message):
        declare()
