"""An ensemble through the inference port of a real TorchServe: the outputs of its members, combined to the bit."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from news_run import WORDS
from posting import post

from model_defs.news_pool import OUTPUTS, NewsPoolConfig, combine
from nautilus_torchserve.features.bar import bar_columns, bar_schema, windows
from nautilus_torchserve.market.bars.bars import PRICES
from nautilus_torchserve.market.bars.simulator import simulate_bars
from nautilus_torchserve.serving.client.archive_import import load_archive
from nautilus_torchserve.serving.client.client import InferenceClient, connect
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.wire import body, errors, headers
from nautilus_torchserve.wire.body import decode_binary
from nautilus_torchserve.wire.news_windows import NewsWindow, encode_news

AGES = (0.0, 900.0, 7200.0)


@pytest.fixture(scope="module")
def clients(news_server: TorchServe) -> Iterator[dict[str, InferenceClient]]:
    """A client of each model over the port."""
    opened = {
        model: connect(news_server.inference_url, model, token=news_server.token)
        for model in ("price", "sentiment", "ensemble")
    }
    yield opened
    for client in opened.values():
        client.close()


@pytest.fixture(scope="module")
def in_process(news_archives: dict[str, Path]) -> Iterator[InferenceClient]:
    with connect(f"mar:{news_archives['ensemble']}", "ensemble", schema=bar_schema()) as client:
        yield client


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """Windows of simulated bars, float32 [40, 60, 5]."""
    bars = simulate_bars(100, seed=4)
    ohlcv = np.stack([*(bars.prices(name) for name in PRICES), bars.volumes()], axis=1)
    return windows(bar_columns(ohlcv), np.arange(59, 99))


@pytest.fixture(scope="module")
def news_windows(rows: np.ndarray) -> list[NewsWindow]:
    """Windows with no text, one, two and three, with and without ages."""
    whole = [word for word in WORDS.split() if not word.startswith("##")]
    random = np.random.default_rng(3)
    made = []
    for at, row in enumerate(rows):
        texts = tuple(" ".join(random.choice(whole, random.integers(1, 30))) for _ in range(at % 4))
        made.append(NewsWindow(row, texts, AGES[: len(texts)] if at % 3 else ()))
    return made


def table(outputs: dict[str, np.ndarray]) -> np.ndarray:
    return np.stack(list(outputs.values()), axis=1)


def instances(news_windows: list[NewsWindow]) -> Any:
    return json.loads(encode_news(news_windows))


def test_the_response_is_the_members_outputs_combined_to_the_bit(
    clients: dict[str, InferenceClient], news_windows: list[NewsWindow]
) -> None:
    texts = [text for window in news_windows for text in window.texts]
    ages = [age for window in news_windows for age in window.ages_s or [0.0] * len(window.texts)]
    price = table(clients["price"].predict(np.stack([window.window for window in news_windows])).outputs)
    scores = clients["sentiment"].predict(texts).outputs["score"].copy()
    config = NewsPoolConfig(**clients["ensemble"].metadata.document["network"]["config"])

    answer = clients["ensemble"].predict(news_windows)

    expected = combine(
        torch.from_numpy(price),
        torch.from_numpy(scores),
        torch.tensor(ages, dtype=torch.float64),
        torch.tensor([len(window.texts) for window in news_windows]),
        config,
    )
    assert list(answer.outputs) == list(OUTPUTS)
    assert table(answer.outputs).tobytes() == expected.numpy().tobytes()
    moved = answer.outputs["return_bps"] != answer.outputs["price_return_bps"]
    assert moved.tolist() == [bool(window.texts) for window in news_windows]


def test_without_news_the_price_models_forecast_stands_and_the_response_names_the_fallback(
    news_server: TorchServe, clients: dict[str, InferenceClient], news_windows: list[NewsWindow]
) -> None:
    price = clients["price"].predict(news_windows[0].window[None]).outputs

    outputs = post(news_server, instances(news_windows[:2]), "ensemble").json()["outputs"]

    assert outputs["texts"] == [0, 1]
    assert outputs["fallback"] == ["no news: the price model's forecast alone", ""]
    for name, values in price.items():
        assert np.float32(outputs[name][0]) == values[0]
    pool = clients["ensemble"].metadata.document["network"]["config"]
    assert outputs["weight_price"] == [1, pytest.approx(pool["weight_price"])]
    assert outputs["weight_sentiment"] == [0, pytest.approx(pool["weight_sentiment"])]
    assert outputs["sentiment_score"][0] == 0


def test_every_form_of_request_and_response_gives_the_same_outputs(
    news_server: TorchServe,
    clients: dict[str, InferenceClient],
    in_process: InferenceClient,
    news_windows: list[NewsWindow],
) -> None:
    first_six = news_windows[:6]
    texts = [text for window in first_six for text in window.texts]
    ages = [age for window in first_six for age in window.ages_s or [0.0] * len(window.texts)]
    tensors = [
        {
            "name": "window",
            "shape": [6, 60, 5],
            "datatype": "FP32",
            "data": np.stack([window.window for window in first_six]).ravel().tolist(),
        },
        {"name": "texts", "shape": [len(texts)], "datatype": "BYTES", "data": texts},
        {"name": "text_counts", "shape": [6], "datatype": "INT64", "data": [len(window.texts) for window in first_six]},
        {"name": "ages_s", "shape": [len(texts)], "datatype": "FP64", "data": ages},
    ]

    plain = post(news_server, instances(first_six)["instances"], "ensemble").json()
    wrapped = post(news_server, instances(first_six), "ensemble/1.0").json()
    binary = post(news_server, encode_news(first_six), "ensemble", Accept=body.BINARY)
    protocol = post(news_server, {"inputs": tensors, "id": "n"}, "ensemble").json()

    assert plain == wrapped
    assert protocol["id"] == "n"
    assert {tensor["name"]: tensor["data"] for tensor in protocol["outputs"]} == plain["outputs"]
    numbers = [plain["outputs"][name] for name in OUTPUTS]
    assert np.array(numbers, np.float32).T.tobytes() == binary.content
    assert decode_binary(binary.content, len(OUTPUTS)).shape == (6, len(OUTPUTS))
    for client in (clients["ensemble"], in_process):
        assert table(client.predict(first_six).outputs).tobytes() == binary.content


def test_the_bits_of_a_window_do_not_depend_on_its_request(
    in_process: InferenceClient, news_windows: list[NewsWindow]
) -> None:
    together = table(in_process.predict(news_windows).outputs)

    for at, window in enumerate(news_windows):
        assert table(in_process.predict([window]).outputs)[0].tobytes() == together[at].tobytes()
    assert table(in_process.predict(news_windows[::-1]).outputs).tobytes() == together[::-1].tobytes()


def test_requests_computed_together_give_the_bits_of_each_alone(
    news_archives: dict[str, Path], in_process: InferenceClient, news_windows: list[NewsWindow], tmp_path: Path
) -> None:
    archive = load_archive(news_archives["ensemble"], tmp_path)
    parts = [news_windows[:1], news_windows[1:8], news_windows[8:9], news_windows[9:20], news_windows[20:]]

    answered = archive.model.compute([archive.model.validate(part) for part in parts])

    archive.unload()
    alone = [table(in_process.predict(part).outputs) for part in parts]
    assert answered.tobytes() == np.concatenate(alone).tobytes()


def test_eight_concurrent_threads_each_get_their_own_responses(
    clients: dict[str, InferenceClient], in_process: InferenceClient, news_windows: list[NewsWindow]
) -> None:
    parts = [news_windows[at : at + 1 + at % 3] for at in range(len(news_windows))]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda part: table(clients["ensemble"].predict(part).outputs).tobytes(), parts))

    assert answers == [table(in_process.predict(part).outputs).tobytes() for part in parts]


def test_responses_name_version_digest_and_schema(
    news_server: TorchServe, clients: dict[str, InferenceClient], news_windows: list[NewsWindow]
) -> None:
    answer = post(news_server, instances(news_windows[:1]), "ensemble")

    metadata = clients["ensemble"].metadata
    assert answer.headers[headers.MODEL_VERSION] == "1.0"
    assert answer.headers[headers.ARCHIVE_DIGEST] == metadata.archive_digest
    assert answer.headers[headers.FEATURE_SCHEMA] == bar_schema().sha256
    assert (metadata.inputs, metadata.document["members"]) == ("windows and texts", ["price", "sentiment"])


def test_a_deadline_is_kept(
    news_server: TorchServe, clients: dict[str, InferenceClient], news_windows: list[NewsWindow]
) -> None:
    sent = instances(news_windows[:1])
    late = post(news_server, sent, "ensemble", x_deadline_ns="12345")
    unreadable = post(news_server, sent, "ensemble", x_deadline_ns="soon")
    early = post(news_server, sent, "ensemble", x_deadline_ns=str(time.time_ns() + 10**11))

    assert (late.status_code, late.json()["error"]) == (504, "DeadlinePassed")
    assert (unreadable.status_code, unreadable.json()["error"]) == (400, "BadHeader")
    assert early.status_code == 200
    with pytest.raises(errors.DeadlinePassed, match="12345"):
        clients["ensemble"].predict(news_windows[:1], deadline_ns=12345)


def invalid_instances(news_windows: list[NewsWindow], **changed: object) -> Any:
    """Return three windows, the last of them with these values replaced."""
    made = instances(news_windows[1:4])
    made["instances"][-1].update(changed)
    return made


BAD: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "short window": ({"window": [[1, 2, 3, 4, 5]]}, 400, "BadShape", "instance 2: expected rows of shape [n, 60, 5]"),
    "negative price": ({"window": [[-1, 1, 1, 1, 1]] * 60}, 422, "BadWindow", "expected positive prices"),
    "no volume": ({"window": [[1, 1, 1, 1, 0]] * 60}, 422, "BadWindow", "expected some volume"),
    "empty text": ({"texts": [""], "ages_s": [0]}, 422, "BadText", "instance 2: expected something to read"),
    "Cyrillic": ({"texts": ["Прибыль"], "ages_s": [0]}, 422, "BadText", "got CYRILLIC in text 3"),
    "emoji": ({"texts": ["🚀"], "ages_s": [0]}, 422, "BadText", "in text 3"),
    "a number": ({"texts": [3], "ages_s": [0]}, 400, "BadType", "instance 2: expected strings, got int '3'"),
    "too few ages": ({"texts": ["profit", "loss"], "ages_s": [0]}, 400, "BadShape", "2 in all"),
    "from the future": ({"texts": ["profit"], "ages_s": [-1]}, 400, "NotFinite", "at least 0"),
    "unknown key": ({"headline": "profit"}, 400, "MalformedBody", "got also ['headline']"),
}


@pytest.mark.parametrize("name", BAD)
def test_invalid_news_is_refused_with_its_error_and_detail(
    news_server: TorchServe, news_windows: list[NewsWindow], name: str
) -> None:
    changed, code, error, detail = BAD[name]

    answer = post(news_server, invalid_instances(news_windows, **changed), "ensemble")

    assert (answer.status_code, answer.json()["error"]) == (code, error)
    assert detail in answer.json()["detail"]


@pytest.mark.parametrize("transport", ["http", "in_process"])
@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda row: [], errors.EmptyBody),
        (lambda row: [NewsWindow(row[:59])], errors.BadShape),
        (lambda row: [NewsWindow(-row)], errors.BadWindow),
        (lambda row: [NewsWindow(row, ("",))], errors.BadText),
        (lambda row: [NewsWindow(row, ("🚀",))], errors.BadText),
        (lambda row: [NewsWindow(row, ("profit",), (float("nan"),))], errors.NotFinite),
        (lambda row: [NewsWindow(row), "profit"], errors.BadType),
        (lambda row: ["profit"], errors.BadType),
        (lambda row: row[None], errors.BadType),
    ],
)
def test_both_clients_refuse_invalid_news_with_the_same_error(
    clients: dict[str, InferenceClient],
    in_process: InferenceClient,
    rows: np.ndarray,
    transport: str,
    change: Any,
    error: type[errors.RequestError],
) -> None:
    client = in_process if transport == "in_process" else clients["ensemble"]

    with pytest.raises(error) as refused:
        client.predict(change(rows[0]))

    assert type(refused.value) is error
