"""Explanations through the inference port of a real TorchServe: all four models, beside the archives in process."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from price_run import golden_rows

from nautilus_torchserve.serving.client.client import InferenceClient, Inputs, connect
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.wire import body
from nautilus_torchserve.wire.errors import BadWindow, NotExplained
from nautilus_torchserve.wire.news_windows import NewsWindow
from support import BATCH

MODELS = ("price", "sentiment", "ensemble")
ROW = np.array([[1.5, 0.4, 0.5, 0.2]], np.float32)


def inputs_of(model: str) -> Inputs:
    """Return the inputs that these tests send to a model."""
    windows = golden_rows(5)[:2]
    with_news = NewsWindow(windows[1], ("Profit rose, record order", "The bank warns of a loss"), (0.0, 1800.0))
    return {
        "tick": ROW,
        "price": windows,
        "sentiment": ["Profit rose, record order", "Shares of the company fell today " * 15],
        "ensemble": [NewsWindow(windows[0]), with_news],
    }[model]


@pytest.fixture(scope="module")
def archives(tick_archive: Path, news_archives: dict[str, Path]) -> dict[str, Path]:
    """The archives of all four models."""
    return {"tick": tick_archive, **news_archives}


@pytest.fixture(scope="module")
def servers(tick_server: TorchServe, news_server: TorchServe) -> dict[str, TorchServe]:
    """Model -> the server that serves it; ``tick-batched``, too."""
    return {**dict.fromkeys(("tick", "tick-batched"), tick_server), **dict.fromkeys(MODELS, news_server)}


@pytest.fixture(scope="module")
def in_process(archives: dict[str, Path]) -> Iterator[dict[str, InferenceClient]]:
    clients = {model: connect(f"mar:{path}", model) for model, path in archives.items()}
    yield clients
    for client in clients.values():
        client.close()


@pytest.fixture(scope="module")
def remote(servers: dict[str, TorchServe]) -> Iterator[dict[str, InferenceClient]]:
    clients = {
        model: connect(servers[model].inference_url, model, token=servers[model].token) for model in ("tick", *MODELS)
    }
    yield clients
    for client in clients.values():
        client.close()


def post(servers: dict[str, TorchServe], model: str, content: object, **extra: str) -> requests.Response:
    """POST as a plain HTTP client does; underscores in header names become dashes."""
    named = {"Authorization": f"Bearer {servers[model].token}"}
    named |= {name.replace("_", "-"): value for name, value in extra.items()}
    url = f"{servers[model].inference_url}/explanations/{model}"
    return requests.post(url, json=content, headers=named, timeout=60)


def same(one: Any, other: Any, scale: float) -> bool:
    """Return whether two explanations have the same words, and numbers that agree to 1e-5 of the largest."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key], scale) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(same(*pair, scale) for pair in zip(one, other, strict=True))
    if isinstance(one, float):
        return abs(one - other) <= 1e-5 * max(scale, abs(one))
    return bool(one == other)


@pytest.mark.parametrize("model", ["tick", *MODELS])
def test_server_and_archive_give_the_same_explanations(
    remote: dict[str, InferenceClient], in_process: dict[str, InferenceClient], model: str
) -> None:
    inputs = inputs_of(model)
    predicted = remote[model].predict(inputs)

    served, local = remote[model].explain(inputs), in_process[model].explain(inputs)

    assert len(served.explanations) == len(inputs)
    assert (served.version, served.digest) == (local.version, local.digest) == (predicted.version, predicted.digest)
    for at, (one, other) in enumerate(zip(served.explanations, local.explanations, strict=True)):
        assert same(one, other, abs(one["value"]))
        assert one["complete"]
        if model != "ensemble":
            assert one["value"] == pytest.approx(float(predicted.outputs[one["output"]][at]), rel=1e-4)


def test_the_response_names_model_version_and_output(servers: dict[str, TorchServe]) -> None:
    answer = post(servers, "tick", ROW.tolist(), x_explain_output="sell")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == body.JSON
    assert answer.headers["x-model-version"] == "1.0"
    assert {name: value for name, value in answer.json().items() if name != "explanations"} == {
        "model": "tick",
        "version": "1.0",
        "output": "sell",
    }
    (explanation,) = answer.json()["explanations"]
    assert explanation["output"] == "sell"
    assert [feature["name"] for feature in explanation["features"]] == [
        "return_bps",
        "flow_imbalance",
        "relative_size",
        "relative_gap",
    ]


def test_a_fixed_version_explains_too(tick_server: TorchServe) -> None:
    with connect(tick_server.inference_url, "tick", "1.0", token=tick_server.token) as client:
        assert client.explain(ROW, "buy").explanations[0]["output"] == "buy"


def test_the_metadata_list_the_explained_outputs(in_process: dict[str, InferenceClient]) -> None:
    explained = {model: [*client.metadata.explained_outputs] for model, client in in_process.items()}

    assert explained == {
        "tick": ["buy", "sell", "hold"],
        "price": ["price", "return_bps", "sigma_bps", "confidence"],
        "sentiment": ["score", "negative", "neutral", "positive", "confidence"],
        "ensemble": ["log_odds_up"],
    }


def test_without_news_the_explanation_names_the_fallback(in_process: dict[str, InferenceClient]) -> None:
    without_news, with_news = in_process["ensemble"].explain(inputs_of("ensemble")).explanations

    assert (without_news["news"], without_news["fallback"]) == (None, "no news: the price model's forecast alone")
    assert with_news["fallback"] == ""
    assert [text["age_s"] for text in with_news["news"]["texts"]] == [0.0, 1800.0]


@pytest.mark.parametrize("model", ["tick", *MODELS])
def test_an_unknown_output_is_refused_with_the_known_ones(
    remote: dict[str, InferenceClient], in_process: dict[str, InferenceClient], model: str
) -> None:
    names = ", ".join(remote[model].metadata.explained_outputs)
    for client in (remote[model], in_process[model]):
        with pytest.raises(NotExplained, match=f"expected output {names} to explain, got 'rally'"):
            client.explain(inputs_of(model), "rally")


def test_a_request_that_is_refused_for_predictions_is_refused_for_explanations(
    servers: dict[str, TorchServe], in_process: dict[str, InferenceClient]
) -> None:
    invalid = golden_rows(5)[:1]
    invalid[0, 7, 2] = -1

    answer = post(servers, "price", invalid.tolist())

    assert (answer.status_code, answer.json()["error"]) == (422, "BadWindow")
    with pytest.raises(BadWindow):
        in_process["price"].explain(invalid)
    assert post(servers, "tick", [[1.0, 2.0]]).json()["error"] == "BadShape"
    assert post(servers, "tick", ROW.tolist(), accept=body.BINARY).json()["error"] == "NotAcceptable"
    assert post(servers, "tick", ROW.tolist(), x_deadline_ns="1").status_code == 504


@pytest.mark.parametrize("model", ["tick", *MODELS])
def test_more_than_a_request_may_explain_is_refused_at_once(
    servers: dict[str, TorchServe], in_process: dict[str, InferenceClient], model: str
) -> None:
    inputs = inputs_of(model)
    limits = {"tick": (16, "rows"), "price": (8, "rows"), "sentiment": (16, "texts"), "ensemble": (4, "windows")}
    most, what = limits[model]
    many = np.repeat(inputs[:1], most + 1, axis=0) if isinstance(inputs, np.ndarray) else [*inputs[:1]] * (most + 1)

    with pytest.raises(NotExplained, match=f"expected at most {most} {what} to explain in a request, got {most + 1}"):
        in_process[model].explain(many)
    answer = post(servers, model, [[0.0] * 60] * 1_500)  # refused unread: by its length alone
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("expected a body of at most ")


def test_explanations_do_not_end_their_batch_worker(tick_server: TorchServe) -> None:
    url = f"{tick_server.inference_url}/{{}}/tick-batched"
    named = {"Authorization": f"Bearer {tick_server.token}"}
    explained = [ROW.repeat(count, axis=0).tolist() for count in (2000, 2000, 2000, 16, 16, 16)]
    paths_and_rows = [("explanations", rows) for rows in explained] + [("predictions", ROW.tolist())] * (BATCH - 6)
    (before,) = tick_server.management().describe("tick-batched")

    with ThreadPoolExecutor(BATCH) as pool:
        answers = list(
            pool.map(
                lambda sent: requests.post(url.format(sent[0]), json=sent[1], headers=named, timeout=60), paths_and_rows
            )
        )

    statuses = [answer.status_code for answer in answers]
    assert statuses[:3] == [422] * 3
    assert set(statuses[3:6]) <= {200, 422}  # as many as could be finished
    assert statuses[6:] == [200] * (BATCH - 6)
    (after,) = tick_server.management().describe("tick-batched")
    assert [worker["pid"] for worker in after["workers"]] == [worker["pid"] for worker in before["workers"]]


def test_a_refused_explanation_leaves_the_rest_of_its_batch_unharmed(tick_server: TorchServe) -> None:
    url = f"{tick_server.inference_url}/{{}}/tick-batched"
    named = {"Authorization": f"Bearer {tick_server.token}"}
    paths_and_headers = [("explanations", {}), ("explanations", {"x-explain-output": "rally"}), ("predictions", {})]
    paths_and_headers += [("predictions", {})] * (BATCH - len(paths_and_headers))

    with ThreadPoolExecutor(BATCH) as pool:
        answers = list(
            pool.map(
                lambda sent: requests.post(url.format(sent[0]), json=ROW.tolist(), headers=named | sent[1], timeout=60),
                paths_and_headers,
            )
        )

    assert [answer.status_code for answer in answers] == [200, 422, *[200] * (BATCH - 2)]
    assert "explanations" in answers[0].json()
    assert all("outputs" in answer.json() for answer in answers[2:])
