"""An ensemble through the inference port of a real TorchServe: what its members say, combined to the bit."""

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
from nautilus_torchserve.wire.news_windows import NewsWindow, encode_news
from nautilus_torchserve.wire.response import decode_binary

AGES = (0.0, 900.0, 7200.0)


@pytest.fixture(scope="module")
def clients(news_server: TorchServe) -> Iterator[dict[str, InferenceClient]]:
    """Each model over the port."""
    made = {
        model: connect(news_server.inference_url, model, token=news_server.token)
        for model in ("price", "sentiment", "ensemble")
    }
    yield made
    for client in made.values():
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
def asked(rows: np.ndarray) -> list[NewsWindow]:
    """Windows with no text, one, two and three, their ages given or not."""
    whole = [word for word in WORDS.split() if not word.startswith("##")]
    random = np.random.default_rng(3)
    made = []
    for at, row in enumerate(rows):
        texts = tuple(" ".join(random.choice(whole, random.integers(1, 30))) for _ in range(at % 4))
        made.append(NewsWindow(row, texts, AGES[: len(texts)] if at % 3 else ()))
    return made


def table(outputs: dict[str, np.ndarray]) -> np.ndarray:
    return np.stack(list(outputs.values()), axis=1)


def instances(asked: list[NewsWindow]) -> Any:
    return json.loads(encode_news(asked))


def test_the_answer_is_the_members_answers_combined_to_the_bit(
    clients: dict[str, InferenceClient], asked: list[NewsWindow]
) -> None:
    texts = [text for each in asked for text in each.texts]
    ages = [age for each in asked for age in each.ages_s or [0.0] * len(each.texts)]
    price = table(clients["price"].predict(np.stack([each.window for each in asked])).outputs)
    scores = clients["sentiment"].predict(texts).outputs["score"].copy()
    config = NewsPoolConfig(**clients["ensemble"].metadata.document["network"]["config"])

    answer = clients["ensemble"].predict(asked)

    expected = combine(
        torch.from_numpy(price),
        torch.from_numpy(scores),
        torch.tensor(ages, dtype=torch.float64),
        torch.tensor([len(each.texts) for each in asked]),
        config,
    )
    assert list(answer.outputs) == list(OUTPUTS)
    assert table(answer.outputs).tobytes() == expected.numpy().tobytes()
    moved = answer.outputs["return_bps"] != answer.outputs["price_return_bps"]
    assert moved.tolist() == [bool(each.texts) for each in asked]


def test_without_news_the_price_models_forecast_stands_and_it_is_said(
    news_server: TorchServe, clients: dict[str, InferenceClient], asked: list[NewsWindow]
) -> None:
    price = clients["price"].predict(asked[0].window[None]).outputs

    said = post(news_server, instances(asked[:2]), "ensemble").json()["outputs"]

    assert said["texts"] == [0, 1]
    assert said["fallback"] == ["no news: the price model's forecast alone", ""]
    for name, values in price.items():
        assert np.float32(said[name][0]) == values[0]
    pool = clients["ensemble"].metadata.document["network"]["config"]
    assert said["weight_price"] == [1, pytest.approx(pool["weight_price"])]
    assert said["weight_sentiment"] == [0, pytest.approx(pool["weight_sentiment"])]
    assert said["sentiment_score"][0] == 0


def test_every_form_of_request_and_answer_says_the_same(
    news_server: TorchServe, clients: dict[str, InferenceClient], in_process: InferenceClient, asked: list[NewsWindow]
) -> None:
    some = asked[:6]
    texts = [text for each in some for text in each.texts]
    ages = [age for each in some for age in each.ages_s or [0.0] * len(each.texts)]
    tensors = [
        {
            "name": "window",
            "shape": [6, 60, 5],
            "datatype": "FP32",
            "data": np.stack([each.window for each in some]).ravel().tolist(),
        },
        {"name": "texts", "shape": [len(texts)], "datatype": "BYTES", "data": texts},
        {"name": "text_counts", "shape": [6], "datatype": "INT64", "data": [len(each.texts) for each in some]},
        {"name": "ages_s", "shape": [len(texts)], "datatype": "FP64", "data": ages},
    ]

    plain = post(news_server, instances(some)["instances"], "ensemble").json()
    wrapped = post(news_server, instances(some), "ensemble/1.0").json()
    binary = post(news_server, encode_news(some), "ensemble", Accept=body.BINARY)
    protocol = post(news_server, {"inputs": tensors, "id": "n"}, "ensemble").json()

    assert plain == wrapped
    assert protocol["id"] == "n"
    assert {each["name"]: each["data"] for each in protocol["outputs"]} == plain["outputs"]
    numbers = [plain["outputs"][name] for name in OUTPUTS]
    assert np.array(numbers, np.float32).T.tobytes() == binary.content
    assert decode_binary(binary.content, len(OUTPUTS)).shape == (6, len(OUTPUTS))
    for client in (clients["ensemble"], in_process):
        assert table(client.predict(some).outputs).tobytes() == binary.content


def test_a_windows_bits_are_its_own_in_any_request(in_process: InferenceClient, asked: list[NewsWindow]) -> None:
    together = table(in_process.predict(asked).outputs)

    for at, window in enumerate(asked):
        assert table(in_process.predict([window]).outputs)[0].tobytes() == together[at].tobytes()
    assert table(in_process.predict(asked[::-1]).outputs).tobytes() == together[::-1].tobytes()


def test_requests_computed_together_are_answered_as_each_alone(
    news_archives: dict[str, Path], in_process: InferenceClient, asked: list[NewsWindow], tmp_path: Path
) -> None:
    archive = load_archive(news_archives["ensemble"], tmp_path)
    parts = [asked[:1], asked[1:8], asked[8:9], asked[9:20], asked[20:]]

    answered = archive.model.compute([archive.model.validate(part) for part in parts])

    archive.unload()
    alone = [table(in_process.predict(part).outputs) for part in parts]
    assert answered.tobytes() == np.concatenate(alone).tobytes()


def test_eight_threads_at_once_get_each_its_own_answers(
    clients: dict[str, InferenceClient], in_process: InferenceClient, asked: list[NewsWindow]
) -> None:
    parts = [asked[at : at + 1 + at % 3] for at in range(len(asked))]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda part: table(clients["ensemble"].predict(part).outputs).tobytes(), parts))

    assert answers == [table(in_process.predict(part).outputs).tobytes() for part in parts]


def test_answers_name_version_digest_and_schema(
    news_server: TorchServe, clients: dict[str, InferenceClient], asked: list[NewsWindow]
) -> None:
    answer = post(news_server, instances(asked[:1]), "ensemble")

    metadata = clients["ensemble"].metadata
    assert answer.headers[headers.MODEL_VERSION] == "1.0"
    assert answer.headers[headers.ARCHIVE_DIGEST] == metadata.archive_digest
    assert answer.headers[headers.FEATURE_SCHEMA] == bar_schema().sha256
    assert (metadata.inputs, metadata.document["members"]) == ("windows and texts", ["price", "sentiment"])


def test_a_deadline_is_kept(
    news_server: TorchServe, clients: dict[str, InferenceClient], asked: list[NewsWindow]
) -> None:
    sent = instances(asked[:1])
    late = post(news_server, sent, "ensemble", x_deadline_ns="12345")
    unreadable = post(news_server, sent, "ensemble", x_deadline_ns="soon")
    early = post(news_server, sent, "ensemble", x_deadline_ns=str(time.time_ns() + 10**11))

    assert (late.status_code, late.json()["error"]) == (504, "DeadlinePassed")
    assert (unreadable.status_code, unreadable.json()["error"]) == (400, "BadHeader")
    assert early.status_code == 200
    with pytest.raises(errors.DeadlinePassed, match="12345"):
        clients["ensemble"].predict(asked[:1], deadline_ns=12345)


def spoilt(asked: list[NewsWindow], **changed: object) -> Any:
    """Three windows, the last one with something else in it."""
    made = instances(asked[1:4])
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
def test_news_that_means_nothing_is_refused_by_name(
    news_server: TorchServe, asked: list[NewsWindow], name: str
) -> None:
    changed, code, error, says = BAD[name]

    answer = post(news_server, spoilt(asked, **changed), "ensemble")

    assert (answer.status_code, answer.json()["error"]) == (code, error)
    assert says in answer.json()["detail"]


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
def test_clients_refuse_alike(
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
