"""A price model through the inference port of a real TorchServe: answers, bits, windows that mean nothing."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from price_run import write_price_run

from nautilus_torchserve.features.bar import bar_columns, bar_schema, windows
from nautilus_torchserve.market.bars.bars import PRICES
from nautilus_torchserve.market.bars.simulator import simulate_bars
from nautilus_torchserve.release.build.archive import build_archive
from nautilus_torchserve.serving.client.client import InferenceClient, connect
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.wire import body
from nautilus_torchserve.wire.errors import SchemaMismatch
from support import BATCH

MODEL, BATCHED = "price-served", "price-batched"


@pytest.fixture(scope="module")
def price_archive(tick_server: TorchServe, model_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer network, in the running server's store under a name of its own."""
    folder = tmp_path_factory.mktemp("price")
    run = write_price_run(folder / "run", config={"hidden": 64, "layers": 2})
    built = build_archive("price", run, "1.0", folder)
    return built.path.rename(model_store / "price-served.mar")


@pytest.fixture(scope="module")
def served(tick_server: TorchServe, price_archive: Path) -> Iterator[TorchServe]:
    """The archive one request at a time, and in batches that wait for `BATCH` requests."""
    manager = tick_server.management()
    manager.register(price_archive.name, model_name=MODEL)
    manager.register(price_archive.name, model_name=BATCHED, batch_size=BATCH, max_batch_delay=1000)
    for name in (MODEL, BATCHED):
        manager.wait_ready(name, "1.0")
    yield tick_server
    for name in (MODEL, BATCHED):
        manager.unregister(name, "1.0")


@pytest.fixture(scope="module")
def in_process(price_archive: Path) -> Iterator[InferenceClient]:
    with connect(f"mar:{price_archive}", MODEL, schema=bar_schema()) as client:
        yield client


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """Windows of simulated bars, float32 [300, 60, 5]."""
    bars = simulate_bars(360, seed=4)
    ohlcv = np.stack([*(bars.prices(name) for name in PRICES), bars.volumes()], axis=1)
    return windows(bar_columns(ohlcv), np.arange(59, 359))


def post(server: TorchServe, content: object, route: str = MODEL, binary: bool = False) -> requests.Response:
    """POST as a plain HTTP client does."""
    form = body.BINARY if binary else body.JSON
    named = {"Authorization": f"Bearer {server.token}", "Content-Type": form, "Accept": form}
    sent = {"data": content} if binary else {"json": content}
    return requests.post(f"{server.inference_url}/predictions/{route}", headers=named, timeout=20, **sent)


def test_a_response_holds_price_return_sigma_and_confidence(served: TorchServe, rows: np.ndarray) -> None:
    answer = post(served, rows[:3].tolist()).json()["outputs"]

    assert list(answer) == ["price", "return_bps", "sigma_bps", "confidence"]
    close = rows[:3, -1, 3]
    np.testing.assert_allclose(answer["price"], close * (1 + np.array(answer["return_bps"]) / 1e4), rtol=1e-6)
    assert all(value > 0 for value in answer["sigma_bps"])
    assert all(0.5 <= value <= 1 for value in answer["confidence"])


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.integers(1, 20), min_size=BATCH, max_size=BATCH), seed=st.integers(0, 99))
def test_other_requests_in_a_batch_change_no_bit(
    served: TorchServe, in_process: InferenceClient, rows: np.ndarray, parts: list[int], seed: int
) -> None:
    random = np.random.default_rng(seed)
    row_parts = [rows[random.integers(0, len(rows), count)] for count in parts]

    with ThreadPoolExecutor(BATCH) as pool:
        answers = list(pool.map(lambda part: post(served, body.encode_rows(part), BATCHED, binary=True), row_parts))

    for part, answer in zip(row_parts, answers, strict=True):
        alone = [in_process.predict(row[None]) for row in part]
        expected = np.array(
            [[response.outputs[name][0] for name in response.outputs] for response in alone], np.float32
        )
        assert answer.content == expected.tobytes()


def test_a_bulk_is_computed_in_large_tiles_with_the_bits_of_lone_windows(
    in_process: InferenceClient, rows: np.ndarray
) -> None:
    together = in_process.predict(rows)
    alone = [in_process.predict(row[None]) for row in rows[:20]]

    for name, values in together.outputs.items():
        assert values[:20].tobytes() == np.concatenate([response.outputs[name] for response in alone]).tobytes()


def spoilt(window: np.ndarray, step: int, column: int, value: float) -> list:
    changed = window.copy()
    changed[:, step, column] = value
    return changed.tolist()


TIMES = [[60 * 10**9 * (step + 1) for step in range(60)]]
BAD = {
    "short window": (lambda row: row[:, :59].tolist(), 400, "BadShape", "[n, 60, 5]"),
    "four columns": (lambda row: row[..., :4].tolist(), 400, "BadShape", "[n, 60, 5]"),
    "negative price": (lambda row: spoilt(row, 7, 2, -1), 422, "BadWindow", "expected positive prices, got -1"),
    "high below low": (lambda row: spoilt(row, 7, 1, 1), 422, "BadWindow", "a high not below open and close"),
    "no volume": (lambda row: spoilt(row, slice(None), 4, 0), 422, "BadWindow", "expected some volume"),
    "two instruments": (
        lambda row: (row * np.where(np.arange(60) < 30, 1, 50)[None, :, None]).tolist(),
        422,
        "BadWindow",
        "expected closes of one instrument",
    ),
    "not in order": (
        lambda row: {"instances": row.tolist(), "ts_event": [[*TIMES[0][:30], TIMES[0][28], *TIMES[0][31:]]]},
        422,
        "BadWindow",
        "increasing",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_an_invalid_window_is_refused_with_its_error_and_detail(
    served: TorchServe, rows: np.ndarray, name: str
) -> None:
    spoil, code, error, message = BAD[name]

    answer = post(served, spoil(rows[:1]))

    assert (answer.status_code, answer.json()["error"]) == (code, error)
    assert message in answer.json()["detail"]


def test_a_value_that_is_no_number_is_refused_by_place(served: TorchServe, rows: np.ndarray) -> None:
    window = rows[:1].copy()
    window[0, 5, 1] = np.nan

    answer = post(served, body.encode_rows(window), binary=True)

    assert (answer.status_code, answer.json()["error"]) == (400, "NotFinite")
    assert "[0, 5, 1]" in answer.json()["detail"]


def test_times_in_order_change_nothing(served: TorchServe, rows: np.ndarray) -> None:
    window = rows[:1].tolist()

    assert post(served, {"instances": window, "ts_event": TIMES}).json() == post(served, window).json()


def test_invalid_windows_leave_the_rest_of_their_batch_unharmed(
    served: TorchServe, in_process: InferenceClient, rows: np.ndarray
) -> None:
    bad = [BAD[name][0](rows[:1]) for name in ("short window", "negative price", "no volume", "two instruments")]
    good = [row[None].tolist() for row in rows[: BATCH - len(bad)]]

    with ThreadPoolExecutor(BATCH) as pool:
        answers = list(pool.map(lambda content: post(served, content, BATCHED), [*bad, *good]))

    assert [answer.status_code for answer in answers] == [400, 422, 422, 422, *[200] * len(good)]
    for row, answer in zip(rows, answers[len(bad) :], strict=False):
        expected = in_process.predict(row[None]).outputs
        assert {name: np.float32(values[0]) for name, values in answer.json()["outputs"].items()} == {
            name: values[0] for name, values in expected.items()
        }


def test_other_columns_than_the_models_are_refused_at_connect(served: TorchServe) -> None:
    with pytest.raises(SchemaMismatch, match=r"trained on features bar/1 over 107 .* got one trained on bar/1 over 60"):
        connect(served.inference_url, MODEL, token=served.token, schema=bar_schema(indicators=True))
