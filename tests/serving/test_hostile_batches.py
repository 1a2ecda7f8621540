"""Requests that used to end a worker, or to fail their whole batch: through a real server, beside good ones."""

import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
import requests

from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.wire import body, headers
from nautilus_torchserve.worker.limits import BATCH_BYTES
from support import BATCH

ROW = struct.pack("<4f", 1.5, 0.4, 0.5, 0.2)
GOOD_ROWS = orjson.dumps([[1.5, 0.4, 0.5, 0.2], [0.5, 0.1, 0.3, 0.7]])
DIGITS = "9" * 5000
TENSOR = {"name": "a", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
LONE = b"\\ud800"
"""Half of a character, as JSON escapes it."""


@dataclass(frozen=True)
class Hostile:
    """A request, and what it gets while its batch mates get their answers."""

    content: bytes
    error: str | None
    """Name of the error; None: it is answered."""
    sent: dict[str, str] = field(default_factory=dict)
    message: str = ""
    """In the error's detail."""
    form: dict[str, tuple[str | None, bytes, str]] | None = None
    """Parts of a form instead of the content."""


def protocol(**changed: object) -> bytes:
    """An Open Inference Protocol body with something changed."""
    return orjson.dumps({"inputs": [{**TENSOR, **changed}]})


ROWS = {
    "250,000 rows and JSON": Hostile(ROW * 100_000, "ResponseTooLarge", {"Content-Type": body.BINARY}, "octet-stream"),
    "more than its share of a batch": Hostile(
        bytes(BATCH_BYTES // BATCH + 16), "BodyTooLarge", {"Content-Type": body.BINARY}, "smaller batch"
    ),
    "one long string": Hostile(b'["' + b"a" * 100_000 + b'"' + b',"b"' * 2000 + b"]", "BadType", message="str 'aaa"),
    "a megabyte of strings": Hostile(b'["' + b"a" * 500_000 + b'"' + b',"b"' * 125_000 + b"]", "BadType"),
    "truth values": Hostile(b"[[1.5, true, 0.5, 0.2]]", "BadType", message="bool"),
    "deadline of 5,000 digits": Hostile(GOOD_ROWS, "BadHeader", {headers.DEADLINE_NS: DIGITS}, headers.DEADLINE_NS),
    "deadline in other digits": Hostile(GOOD_ROWS, "BadHeader", {headers.DEADLINE_NS: "²"}),
    "header body": Hostile(GOOD_ROWS, None, {"body": "x"}),
    "headers of all names": Hostile(GOOD_ROWS, None, dict.fromkeys(("body", "data", "id", "ts_stream_next"), "x")),
    "explain in other letters": Hostile(GOOD_ROWS, None, {"eXplain": "True"}),
    "lone id": Hostile(b'{"id":"' + LONE + b'","inputs":[' + orjson.dumps(TENSOR) + b"]}", "MalformedBody"),
    "lone datatype": Hostile(protocol(datatype="@").replace(b"@", LONE), "BadType", message="datatype"),
    "lone shape": Hostile(protocol(shape="@").replace(b"@", LONE), "MalformedBody"),
    "lone name": Hostile(protocol(name="@").replace(b"@", LONE), None),
    "lone key": Hostile(b'{"' + LONE + b'":1}', "MalformedBody"),
    "axes without end": Hostile(protocol(shape=[2**63 - 1] * 50_000), "MalformedBody"),
    "long keys": Hostile(b'{"' + b"k" * 100_000 + b'":1,"' + b"j" * 100_000 + b'":2}', "MalformedBody"),
    "long accept": Hostile(GOOD_ROWS, "NotAcceptable", {"Accept": "a" * 3000}),
    "long content type": Hostile(GOOD_ROWS, "UnsupportedContentType", {"Content-Type": "a" * 5000}),
    "integers of 4,000 digits": Hostile(b"[NaN," + DIGITS[:4000].encode() + b"]", "NotFinite"),
    "deep lists": Hostile(b"[" * 500_000, "MalformedBody"),
    "client request id too long": Hostile(GOOD_ROWS, "BadHeader", {headers.CLIENT_REQUEST_ID: "a" * 201}),
    "client request id of other letters": Hostile(GOOD_ROWS, "BadHeader", {headers.CLIENT_REQUEST_ID: "é"}),
    "a part named like a header": Hostile(
        b"",
        "MalformedBody",
        message="got also ['x-deadline-ns']",
        form={"body": (None, GOOD_ROWS, body.JSON), headers.DEADLINE_NS: (None, b"1", "text/plain")},
    ),
    "form fields": Hostile(
        b"x-deadline-ns=1&accept=1&describe=True&explain=True&body=1",
        "MalformedBody",
        {"Content-Type": "application/x-www-form-urlencoded"},
    ),
    "ten thousand form fields": Hostile(
        b"a&" * 10_000, "UnsupportedContentType", {"Content-Type": "application/x-www-form-urlencoded"}
    ),
}
TEXTS = {
    "lone text": Hostile(b'["Profit ' + LONE + b'"]', "BadText", message="lone surrogate"),
    "lone id": Hostile(
        b'{"id":"' + LONE + b'","inputs":[{"name":"a","shape":[1],"datatype":"BYTES","data":["a"]}]}', "MalformedBody"
    ),
    "characters that become many": Hostile(orjson.dumps(["ﷺ" * 20_000]), "BadText"),
    "a word without an end": Hostile(orjson.dumps(["a" * 60_000]), "BadText", message="unknown"),
    "more than its share of a batch": Hostile(orjson.dumps(["Profit rose. " * 5000]), "BodyTooLarge", message="62,500"),
}


def post(server: TorchServe, route: str, hostile: Hostile) -> requests.Response:
    sent = {"Content-Type": body.JSON, **hostile.sent, "Authorization": f"Bearer {server.token}"}
    content: dict[str, Any] = {"data": hostile.content}
    if hostile.form is not None:
        del sent["Content-Type"]
        content = {"files": hostile.form}
    encoded = {name: value.encode("latin-1") for name, value in sent.items()}
    return requests.post(f"{server.inference_url}/predictions/{route}", headers=encoded, timeout=30, **content)


def workers(server: TorchServe, model: str) -> list[Any]:
    """Return what distinguishes every worker from the one that replaces it."""
    (described,) = server.management().describe(model)
    return [(worker["id"], worker["pid"], worker["startTime"]) for worker in described["workers"]]


def check_batch(server: TorchServe, route: str, good: list[Hostile], hostile: Hostile) -> None:
    """Fill a batch with five good requests and three hostile ones."""
    alone = [post(server, route.removesuffix("-batched"), request).content for request in good]
    before = workers(server, route)
    sent = [good[0], hostile, good[1], hostile, good[2], good[0], hostile, good[1]]
    with ThreadPoolExecutor(BATCH) as pool:
        answers = list(pool.map(lambda request: post(server, route, request), sent))

    refused = [answers.pop(at) for at in (6, 3, 1)]
    assert [answer.status_code for answer in answers] == [200] * 5
    expected = [alone[at] for at in (0, 1, 2, 0, 1)]
    assert [answer.json()["outputs"] for answer in answers] == [
        orjson.loads(content)["outputs"] for content in expected
    ]
    for answer in refused:
        if hostile.error is None:
            assert answer.status_code == 200, answer.text
        else:
            refusal = answer.json()
            assert (refusal["error"], refusal["code"]) == (hostile.error, answer.status_code), refusal
            assert 400 <= answer.status_code < 500
            assert hostile.message in refusal["detail"]
            assert len(answer.content) < 1000
    assert workers(server, route) == before


@pytest.fixture(scope="module")
def good_rows() -> list[Hostile]:
    return [Hostile(GOOD_ROWS, None), Hostile(b"[[1,2,3,4]]", None), Hostile(protocol(data=[4, 3, 2, 1]), None)]


@pytest.mark.parametrize("name", ROWS)
def test_other_rows_of_the_batch_keep_their_bits(tick_server: TorchServe, good_rows: list[Hostile], name: str) -> None:
    check_batch(tick_server, "tick-batched", good_rows, ROWS[name])


@pytest.mark.parametrize("name", TEXTS)
def test_other_texts_of_the_batch_keep_their_bits(news_server: TorchServe, name: str) -> None:
    good = [Hostile(orjson.dumps([text]), None) for text in ("Profit rose", "Sales fell", "Shares rose, profit fell")]
    check_batch(news_server, "sentiment-batched", good, TEXTS[name])


def test_the_largest_requests_allowed_are_answered(tick_server: TorchServe) -> None:
    binary = {"Content-Type": body.BINARY, "Accept": body.BINARY}
    most = post(tick_server, "tick", Hostile(ROW * 262_144, None, binary))
    shown = post(tick_server, "tick", Hostile(ROW * 77_000, None, {"Content-Type": body.BINARY}))
    beyond = post(tick_server, "tick", Hostile(ROW * 250_000, None, {"Content-Type": body.BINARY}))
    share = Hostile(ROW * (BATCH_BYTES // BATCH // 16), None, binary)
    with ThreadPoolExecutor(BATCH) as pool:
        together = list(pool.map(lambda content: post(tick_server, "tick-batched", content), [share] * BATCH))

    assert (most.status_code, len(most.content)) == (200, 262_144 * 12)
    assert (shown.status_code, len(shown.json()["outputs"]["buy"])) == (200, 77_000)
    assert (beyond.status_code, beyond.json()["error"]) == (413, "ResponseTooLarge")
    assert [answer.status_code for answer in together] == [200] * BATCH


@pytest.mark.parametrize("chosen", ["7", "a" * 200, '!~"\\ {}', "0b8c5b0e-6a1f-4a51-9d1b-2f1d5a6f7b8c"])
def test_the_clients_request_id_comes_back_with_answers_and_errors(tick_server: TorchServe, chosen: str) -> None:
    for content, status in ((GOOD_ROWS, 200), (b"[[1,2,3]]", 400)):
        answer = post(tick_server, "tick", Hostile(content, None, {headers.CLIENT_REQUEST_ID: chosen}))

        assert answer.status_code == status
        assert answer.headers[headers.CLIENT_REQUEST_ID] == chosen
    assert headers.CLIENT_REQUEST_ID not in post(tick_server, "tick", Hostile(GOOD_ROWS, None)).headers
