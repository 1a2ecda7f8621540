"""A sentiment model through the inference port of a real TorchServe: responses, their bits, unreadable texts."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from news_run import TEXTS, WORDS
from posting import post

from nautilus_torchserve.features.text import TEXT_SCHEMA
from nautilus_torchserve.serving.client.client import InferenceClient, connect
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.wire import body, errors, headers
from nautilus_torchserve.wire.body import decode_binary
from nautilus_torchserve.wire.news_windows import NewsWindow, encode_texts
from support import BATCH

CLASSES = ["negative", "neutral", "positive"]


@pytest.fixture(scope="module")
def http(news_server: TorchServe) -> Iterator[InferenceClient]:
    with connect(news_server.inference_url, "sentiment", token=news_server.token, schema=TEXT_SCHEMA) as client:
        yield client


@pytest.fixture(scope="module")
def in_process(news_archives: dict[str, Path]) -> Iterator[InferenceClient]:
    with connect(f"mar:{news_archives['sentiment']}", "sentiment", schema=TEXT_SCHEMA) as client:
        yield client


def bits(client: InferenceClient, texts: list[str]) -> bytes:
    """Return the response in its binary form."""
    return np.stack(list(client.predict(texts).outputs.values()), axis=1).tobytes()


def text_of(words: int, seed: int) -> str:
    whole = [word for word in WORDS.split() if not word.startswith("##")]
    return " ".join(np.random.default_rng(seed).choice(whole, words))


def test_a_response_holds_score_label_probabilities_and_chunks(news_server: TorchServe) -> None:
    answer = post(news_server, list(TEXTS), "sentiment").json()

    outputs = answer["outputs"]
    assert (answer["model"], answer["version"]) == ("sentiment", "1.0")
    assert list(outputs) == ["score", "label", "probabilities", "confidence", "chunks", "truncated"]
    probabilities = np.array(outputs["probabilities"])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(outputs["score"], probabilities[:, 2] - probabilities[:, 0], atol=1e-6)
    assert outputs["label"] == [CLASSES[likeliest] for likeliest in probabilities.argmax(axis=1)]
    assert outputs["confidence"] == probabilities.max(axis=1).tolist()
    assert (outputs["chunks"], outputs["truncated"]) == ([1, 1, 3], [False, False, False])


def test_every_form_of_request_and_response_gives_the_same_outputs(
    news_server: TorchServe, http: InferenceClient, in_process: InferenceClient
) -> None:
    texts = [*TEXTS, "Größe: profit fell 3%"]
    tensor = {"name": "texts", "shape": [4], "datatype": "BYTES", "data": texts}

    plain = post(news_server, texts, "sentiment")
    instances = post(news_server, {"instances": texts}, "sentiment/1.0", Accept=body.JSON)
    binary = post(news_server, encode_texts(texts), "sentiment", Accept=body.BINARY)
    protocol = post(news_server, {"inputs": [tensor], "id": "9"}, "sentiment").json()

    table = decode_binary(binary.content, 7)
    assert binary.headers["Content-Type"] == body.BINARY
    assert plain.json() == instances.json()
    assert protocol["id"] == "9"
    assert {tensor["name"]: tensor["datatype"] for tensor in protocol["outputs"]} == {
        "score": "FP32",
        "label": "BYTES",
        "probabilities": "FP32",
        "confidence": "FP32",
        "chunks": "INT64",
        "truncated": "BOOL",
    }
    for tensor in protocol["outputs"]:
        assert tensor["data"] == np.ravel(plain.json()["outputs"][tensor["name"]]).tolist()
    outputs = plain.json()["outputs"]
    columns = [outputs["score"], *zip(*outputs["probabilities"], strict=True), outputs["confidence"], outputs["chunks"]]
    assert np.array(columns, np.float32).T.tobytes() == table[:, :6].tobytes()
    assert bits(http, texts) == bits(in_process, texts) == binary.content


def test_responses_name_version_digest_and_schema(news_server: TorchServe, http: InferenceClient) -> None:
    answer = post(news_server, ["Profit rose"], "sentiment")

    assert answer.headers[headers.MODEL_VERSION] == "1.0"
    assert answer.headers[headers.ARCHIVE_DIGEST] == http.metadata.archive_digest
    assert answer.headers[headers.FEATURE_SCHEMA] == TEXT_SCHEMA.sha256
    assert http.metadata.inputs == "texts"
    assert http.metadata.batch_invariant


def test_the_response_to_a_long_text_counts_its_chunks_and_marks_truncation(news_server: TorchServe) -> None:
    texts = [text_of(62, 0), text_of(63, 1), text_of(752, 2), text_of(753, 3)]

    outputs = post(news_server, texts, "sentiment").json()["outputs"]

    assert outputs["chunks"] == [1, 2, 16, 16]
    assert outputs["truncated"] == [False, False, False, True]


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.integers(1, 6), min_size=BATCH, max_size=BATCH), seed=st.integers(0, 99))
def test_other_requests_in_a_batch_change_no_bit(
    news_server: TorchServe, in_process: InferenceClient, parts: list[int], seed: int
) -> None:
    lengths = np.random.default_rng(seed).integers(1, 90, sum(parts)).tolist()
    texts = iter([text_of(words, seed + at) for at, words in enumerate(lengths)])
    text_parts = [[next(texts) for _ in range(count)] for count in parts]

    with ThreadPoolExecutor(BATCH) as pool:
        answers = list(
            pool.map(
                lambda part: post(news_server, encode_texts(part), "sentiment-batched", Accept=body.BINARY), text_parts
            )
        )

    for part, answer in zip(text_parts, answers, strict=True):
        assert answer.content == b"".join(bits(in_process, [text]) for text in part)


def test_eight_concurrent_threads_each_get_their_own_responses(
    http: InferenceClient, in_process: InferenceClient
) -> None:
    pairs = [[text_of(5 + at % 40, at), text_of(3, 100 + at)] for at in range(64)]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda texts: bits(http, texts), pairs))

    assert answers == [bits(in_process, texts) for texts in pairs]
    assert len(set(answers)) == len(pairs)


BAD: dict[str, tuple[object, int, str, str]] = {
    "empty body": (b"", 400, "EmptyBody", "expected texts, got an empty body"),
    "no texts": ([], 400, "EmptyBody", "at least one text"),
    "empty text": (["Profit rose", ""], 422, "BadText", "expected something to read, got '' as text 1"),
    "no width": (["\u200b\u200b"], 422, "BadText", "something to read"),
    "a number": (["Profit rose", 12.5], 400, "BadType", "expected strings, got float '12.5' as text 1"),
    "rows": ([[1, 2, 3, 4]], 400, "BadType", "got list"),
    "invalid UTF-8": (b'["Profit \xff\xfe"]', 400, "MalformedBody", "UTF-8"),
    "lone surrogate": (b'["Profit \\ud800"]', 422, "BadText", "lone surrogate in text 0"),
    "broken JSON": (b'["Profit', 400, "MalformedBody", "JSON"),
    "too deep": (b"[" * 50_000, 400, "MalformedBody", "JSON"),
    "Cyrillic": (["Profit rose", "Прибыль выросла"], 422, "BadText", "expected text in LATIN script"),
    "Chinese": (["利润上升"], 422, "BadText", "got CJK in text 0"),
    "emoji": (["🚀🚀🚀"], 422, "BadText", "expected words that the model knows"),
    "too many texts": (["a"] * 1025, 413, "BodyTooLarge", "at most 1,024 texts"),
    "three megabytes": (["a " * 1_500_000], 413, "BodyTooLarge", "at most 2,097,152 bytes"),
    "one megabyte": (["a " * 500_000], 413, "BodyTooLarge", "at most 250,000 characters"),
    "tensor of numbers": (
        {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]},
        400,
        "BadType",
        "BYTES",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_an_unreadable_request_fails_alone_in_its_batch(
    news_server: TorchServe, in_process: InferenceClient, name: str
) -> None:
    content, code, error, detail = BAD[name]
    good = [encode_texts([text_of(4 + at, at)]) for at in range(BATCH - 2)]
    contents = [good[0], content, *good[1:], content]

    with ThreadPoolExecutor(BATCH) as pool:
        answers = list(pool.map(lambda sent: post(news_server, sent, "sentiment-batched", Accept="*/*"), contents))

    refused = [answers.pop(1), answers.pop()]
    for answer in refused:
        assert (answer.status_code, answer.json()["code"], answer.json()["error"]) == (code, code, error)
        assert detail in answer.json()["detail"]
    for at, answer in enumerate(answers):
        expected = in_process.predict([text_of(4 + at, at)]).outputs["score"]
        assert np.float32(answer.json()["outputs"]["score"][0]) == expected[0]


@pytest.mark.parametrize(
    ("content", "sent", "code", "error"),
    [
        (b"Profit rose", {"Content_Type": "text/plain"}, 415, "UnsupportedContentType"),
        (b"\0\0\0\0", {"Content_Type": body.BINARY}, 415, "UnsupportedContentType"),
        (["Profit rose"], {"Accept": "text/xml"}, 406, "NotAcceptable"),
        (["Profit rose"], {"x_deadline_ns": "12345"}, 504, "DeadlinePassed"),
    ],
)
def test_headers_that_cannot_be_met_are_refused_with_their_error(
    news_server: TorchServe, content: object, sent: dict[str, str], code: int, error: str
) -> None:
    answer = post(news_server, content, "sentiment", **sent)

    assert (answer.status_code, answer.json()["error"]) == (code, error)


def test_ten_megabytes_of_text_are_too_much_everywhere(
    news_server: TorchServe, http: InferenceClient, in_process: InferenceClient
) -> None:
    text = "Profit rose " * 850_000

    for client in (http, in_process):
        with pytest.raises(errors.BodyTooLarge, match=r"at most 250,000 characters .* got 10,200,000"):
            client.predict([text])
    assert post(news_server, [text], "sentiment").status_code == 413  # TorchServe's own
    assert bits(http, ["Profit rose"]) == bits(in_process, ["Profit rose"])


@pytest.mark.parametrize("transport", ["http", "in_process"])
@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ([], errors.EmptyBody),
        ([" "], errors.BadText),
        ([3], errors.BadType),
        ("Profit rose", errors.BadType),
        (np.zeros((1, 4), np.float32), errors.BadType),
        ([NewsWindow(np.zeros((60, 5), np.float32))], errors.BadType),
        (["Прибыль выросла"], errors.BadText),
        (["🚀"], errors.BadText),
    ],
)
def test_both_clients_refuse_unreadable_texts_with_the_same_error(
    request: pytest.FixtureRequest, transport: str, sent: list[str], error: type[errors.RequestError]
) -> None:
    with pytest.raises(error) as refused:
        request.getfixturevalue(transport).predict(sent)

    assert type(refused.value) is error


def test_a_model_of_rows_refuses_texts(news_server: TorchServe) -> None:
    client = connect(news_server.inference_url, "price", token=news_server.token)

    with client, pytest.raises(errors.BadType, match="expected rows, which the model takes"):
        client.predict(["Profit rose"])
