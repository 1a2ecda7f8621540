"""Through the inference port of a real TorchServe: answers, errors, headers, bits."""

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nautilus_torchserve.features.tick import tick_schema
from nautilus_torchserve.serving.client.client import InferenceClient, connect
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.wire import body, errors, headers
from nautilus_torchserve.wire.body import decode_binary
from support import BATCH


@pytest.fixture(scope="module")
def http(tick_server: TorchServe) -> InferenceClient:
    return connect(tick_server.inference_url, "tick", token=tick_server.token, schema=tick_schema())


@pytest.fixture(scope="module")
def in_process(tick_archive: Path) -> InferenceClient:
    return connect(f"mar:{tick_archive}", "tick", schema=tick_schema())


def post(server: TorchServe, content: object, route: str = "tick", **sent: str) -> requests.Response:
    """POST as a plain HTTP client does; underscores in header names become dashes."""
    named = {"Content-Type": body.JSON, "Authorization": f"Bearer {server.token}"}
    named |= {name.replace("_", "-"): value for name, value in sent.items()}
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return requests.post(f"{server.inference_url}/predictions/{route}", data=data, headers=named, timeout=20)


def test_server_and_archive_respond_with_the_same_bits(
    http: InferenceClient, in_process: InferenceClient, rows: np.ndarray
) -> None:
    served, local = http.predict(rows), in_process.predict(rows)

    assert list(served.outputs) == ["buy", "sell", "hold"]
    for name, values in local.outputs.items():
        assert served.outputs[name].tobytes() == values.tobytes()
    assert (served.version, served.digest) == (local.version, local.digest) == ("1.0", http.metadata.archive_digest)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.integers(1, 40), min_size=BATCH, max_size=BATCH), seed=st.integers(0, 99))
def test_other_requests_in_a_batch_change_no_bit(
    tick_server: TorchServe, in_process: InferenceClient, rows: np.ndarray, parts: list[int], seed: int
) -> None:
    random = np.random.default_rng(seed)
    row_parts = [rows[random.integers(0, len(rows), count)] for count in parts]

    with ThreadPoolExecutor(BATCH) as pool:
        answers = list(
            pool.map(
                lambda part: post(
                    tick_server, body.encode_rows(part), "tick-batched", Content_Type=body.BINARY, Accept=body.BINARY
                ),
                row_parts,
            )
        )

    for part, answer in zip(row_parts, answers, strict=True):
        alone = [in_process.predict(row[None]) for row in part]
        expected = np.array(
            [[response.outputs[name][0] for name in response.outputs] for response in alone], np.float32
        )
        assert answer.content == expected.tobytes()


def test_json_binary_and_open_inference_give_the_same_outputs(tick_server: TorchServe, rows: np.ndarray) -> None:
    some = rows[:3]
    tensor = {"name": "rows", "shape": [3, 4], "datatype": "FP32", "data": some.ravel().tolist()}

    plain = post(tick_server, some.tolist())
    instances = post(tick_server, {"instances": some.tolist()})
    binary = post(tick_server, some.tobytes(), Content_Type=body.BINARY, Accept=body.BINARY)
    protocol = post(tick_server, {"inputs": [tensor]})

    table = decode_binary(binary.content, 3)
    assert plain.json() == instances.json()
    assert np.array(list(plain.json()["outputs"].values()), np.float32).T.tobytes() == table.tobytes()
    assert (
        np.array([tensor["data"] for tensor in protocol.json()["outputs"]], np.float32).T.tobytes() == table.tobytes()
    )
    np.testing.assert_allclose(table.sum(axis=1), 1, rtol=1e-6)


def test_responses_name_version_digest_and_schema(tick_server: TorchServe, http: InferenceClient) -> None:
    answer = post(tick_server, [[0.1, 0.2, 0.3, 0.4]])

    assert answer.headers[headers.MODEL_VERSION] == "1.0"
    assert answer.headers[headers.ARCHIVE_DIGEST] == http.metadata.archive_digest
    assert answer.headers[headers.FEATURE_SCHEMA] == tick_schema().sha256


def test_metadata_are_the_same_on_both_ports(tick_server: TorchServe, http: InferenceClient) -> None:
    managed = tick_server.management().describe("tick", customized=True)[0]["customizedMetadata"]

    for key in ("version", "archive_digest", "feature_schema_sha256", "outputs", "training", "tile_rows", "device"):
        assert managed[key] == http.metadata.document[key]  # the whole differs: Java leaves out what is null
    assert http.metadata.batch_invariant
    assert http.metadata.document["training"]["simulated"]


@dataclass(frozen=True)
class Bad:
    """A request that must be refused, and how."""

    content: object
    code: int
    error: str
    message: str
    sent: tuple[tuple[str, str], ...] = ()


BAD = {
    "malformed JSON": Bad(b"[[1,2", 400, "MalformedBody", "JSON"),
    "wrong shape": Bad([[1, 2, 3]], 400, "BadShape", "[n, 4]"),
    "wrong type": Bad([["a", 2, 3, 4]], 400, "BadType", "'a'"),
    "empty body": Bad(b"", 400, "EmptyBody", "empty"),
    "no rows": Bad([], 400, "EmptyBody", "empty list"),
    "NaN": Bad(b"[[NaN,2,3,4]]", 400, "NotFinite", "nan"),
    "infinity": Bad(b"[[1e999,2,3,4]]", 400, "NotFinite", "inf"),
    "half a row": Bad(b"123456", 400, "BadShape", "6 bytes", (("Content-Type", body.BINARY),)),
    "unknown content type": Bad(b"1,2,3,4", 415, "UnsupportedContentType", "text/csv", (("Content-Type", "text/csv"),)),
    "a form": Bad(
        b"a=1", 415, "UnsupportedContentType", "form", (("Content-Type", "application/x-www-form-urlencoded"),)
    ),
    "accepts only XML": Bad([[1, 2, 3, 4]], 406, "NotAcceptable", "text/xml", (("Accept", "text/xml"),)),
    "late": Bad([[1, 2, 3, 4]], 504, "DeadlinePassed", "12345", (("x-deadline-ns", "12345"),)),
    "unreadable deadline": Bad([[1, 2, 3, 4]], 400, "BadHeader", "soon", (("x-deadline-ns", "soon"),)),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_an_invalid_request_is_refused_with_its_error(tick_server: TorchServe, bad: Bad) -> None:
    answer = post(tick_server, bad.content, **dict(bad.sent))

    assert answer.status_code == bad.code
    assert answer.json()["code"] == bad.code
    assert answer.json()["error"] == bad.error
    assert bad.message in answer.json()["detail"]


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_an_invalid_request_fails_alone_in_its_batch(tick_server: TorchServe, rows: np.ndarray, bad: Bad) -> None:
    good = rows[:2]
    expected = post(tick_server, good.tolist()).json()["outputs"]
    sent = [(good.tolist(), {})] * 5 + [(bad.content, dict(bad.sent))] * (BATCH - 5)

    with ThreadPoolExecutor(BATCH) as pool:
        answers = list(pool.map(lambda request: post(tick_server, request[0], "tick-batched", **request[1]), sent))

    assert [answer.status_code for answer in answers] == [200] * 5 + [bad.code] * (BATCH - 5)
    assert all(answer.json()["outputs"] == expected for answer in answers[:5])


def test_deadline_in_the_future_is_computed(http: InferenceClient, rows: np.ndarray) -> None:
    assert len(http.predict(rows[:1], deadline_ns=time.time_ns() + 10**10).outputs["buy"]) == 1


@pytest.mark.parametrize("transport", ["http", "in_process"])
@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (np.zeros((1, 3), np.float32), errors.BadShape),
        (np.zeros(4, np.float32), errors.BadShape),
        (np.zeros((0, 4), np.float32), errors.EmptyBody),
        (np.full((1, 4), np.inf, np.float32), errors.NotFinite),
    ],
)
def test_both_clients_refuse_invalid_rows_with_the_same_error(
    request: pytest.FixtureRequest, transport: str, sent: np.ndarray, error: type[errors.RequestError]
) -> None:
    with pytest.raises(error):
        request.getfixturevalue(transport).predict(sent)


@pytest.mark.parametrize("transport", ["http", "in_process"])
def test_late_requests_are_not_computed(request: pytest.FixtureRequest, transport: str, rows: np.ndarray) -> None:
    with pytest.raises(errors.DeadlinePassed, match="12345"):
        request.getfixturevalue(transport).predict(rows[:1], deadline_ns=12345)


def test_client_goes_on_after_an_error(http: InferenceClient, rows: np.ndarray) -> None:
    """TorchServe closes the connection with every error answer."""
    for _ in range(3):
        with pytest.raises(errors.DeadlinePassed):
            http.predict(rows[:1], deadline_ns=1)
        assert http.predict(rows[:1]).version == "1.0"


def test_async_predictions_are_the_same(http: InferenceClient, rows: np.ndarray) -> None:
    async def together() -> list[bytes]:
        answers = await asyncio.gather(*(http.predict_async(row[None]) for row in rows[:20]))
        return [answer.outputs["buy"].tobytes() for answer in answers]

    assert asyncio.run(together()) == [http.predict(row[None]).outputs["buy"].tobytes() for row in rows[:20]]


def test_too_large_a_body_is_413(tick_server: TorchServe) -> None:
    client = connect(tick_server.inference_url, "tick", token=tick_server.token)

    with pytest.raises(errors.BodyTooLarge):
        client.predict(np.zeros((300_000, 4), np.float32))  # 4.8 MB, the limit is 4 MiB


@pytest.mark.parametrize(("model", "version"), [("nope", None), ("tick", "9.9")])
def test_unknown_model_or_version_is_named(tick_server: TorchServe, model: str, version: str | None) -> None:
    with pytest.raises(errors.UnknownModel, match=version or model):
        connect(tick_server.inference_url, model, version, token=tick_server.token)


def test_unknown_version_of_an_archive_is_named(tick_archive: Path) -> None:
    with pytest.raises(errors.UnknownModel, match=r"expected version 9\.9, got 1\.0"):
        connect(f"mar:{tick_archive}", "tick", "9.9")


@pytest.mark.parametrize("token", [None, "wrong"])
def test_without_a_valid_token_every_request_is_refused(tick_server: TorchServe, token: str | None) -> None:
    with pytest.raises(errors.Unauthorized):
        connect(tick_server.inference_url, "tick", token=token)


def test_other_features_are_refused_at_connect(tick_server: TorchServe) -> None:
    with pytest.raises(errors.SchemaMismatch, match=r"over 16 events .* over 32"):
        connect(tick_server.inference_url, "tick", token=tick_server.token, schema=tick_schema(window=16))


def test_a_closed_port_raises_unavailable() -> None:
    with pytest.raises(errors.Unavailable, match=r"127\.0\.0\.1"):
        connect("http://127.0.0.1:9", "tick")


def test_unknown_scheme_is_named() -> None:
    with pytest.raises(ValueError, match="ftp"):
        connect("ftp://127.0.0.1", "tick")
