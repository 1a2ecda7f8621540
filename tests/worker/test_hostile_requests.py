"""Whatever one request holds, its batch mates get the bits that they get alone, and it gets an error of its own."""

import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import orjson
import pytest
from hostile_requests import BINARY, JSON, MARK, hostile_request
from worker_frames import Received, Sent, Worker

from nautilus_torchserve.wire import body, headers
from nautilus_torchserve.wire.errors import BY_NAME

BATCHES = {"tick": 300, "sentiment": 80, "ensemble": 100}
GOOD, HOSTILE = 3, 5


def rows_body(seed: int) -> bytes:
    return body.encode_rows(np.random.default_rng(seed).normal(0, 1, (1 + seed % 3, 4)).astype(np.float32))


def window_of(seed: int) -> list[list[float]]:
    close = np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.01, 60)))
    return np.stack([close, close * 1.01, close * 0.99, close, close], axis=1).tolist()


GOOD_REQUESTS = {
    "tick": [Sent([("body", BINARY, rows_body(seed))], [("accept", BINARY)]) for seed in range(2)]
    + [Sent([("body", JSON, b"[[1.5,0.4,0.5,0.2]]")], [(headers.CLIENT_REQUEST_ID, "7")])],
    "sentiment": [
        Sent([("body", JSON, orjson.dumps([text]))], [("accept", BINARY)])
        for text in ("Profit rose", "profit fell, shares fell", "Sales rose")
    ],
    "ensemble": [
        Sent([("body", JSON, orjson.dumps([{"window": window_of(seed), "texts": ["Profit rose"] * seed}]))])
        for seed in range(3)
    ],
}


@pytest.fixture(scope="module")
def workers(
    tick_archive: Path, news_archives: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Worker]:
    archives = {"tick": tick_archive, **{name: news_archives[name] for name in ("sentiment", "ensemble")}}
    return {
        name: Worker(path, tmp_path_factory.mktemp(name), batch_size=GOOD + HOSTILE) for name, path in archives.items()
    }


@pytest.fixture
def tick(workers: dict[str, Worker]) -> Worker:
    return workers["tick"]


def check_refusal(answer: Received) -> None:
    refusal = orjson.loads(answer.body)
    assert 400 <= answer.status < 500 or (answer.status, refusal["error"]) == (504, "DeadlinePassed"), refusal
    assert (refusal["code"], BY_NAME[refusal["error"]].code) == (answer.status, answer.status)
    assert len(answer.body) < 1000
    assert MARK * 201 not in refusal["detail"]
    assert not re.search(r'Traceback|File "|\.py', refusal["detail"])


@pytest.mark.parametrize("model", GOOD_REQUESTS)
def test_no_request_changes_others_of_its_batch(
    workers: dict[str, Worker], model: str, caplog: pytest.LogCaptureFixture
) -> None:
    worker, good, random = workers[model], GOOD_REQUESTS[model], Random(model)
    alone = [worker.answer([request])[0] for request in good]
    refused: set[str] = set()
    for _ in range(BATCHES[model]):
        hostile = [hostile_request(random, [request.parts[0][2] for request in good]) for _ in range(HOSTILE)]
        batch = [*good, *hostile]
        order = random.sample(range(len(batch)), len(batch))
        answers = dict(zip(order, worker.answer([batch[at] for at in order]), strict=True))

        for at, expected in enumerate(alone):
            assert answers[at] == expected
        for at in range(GOOD, len(batch)):
            if answers[at].status != 200:
                check_refusal(answers[at])
                refused.add(orjson.loads(answers[at].body)["error"])
    assert [answer.status for answer in alone] == [200] * GOOD
    assert len(refused) >= 7, f"the grammar reaches few errors: {refused}"
    assert not caplog.records, "an exception that no one foresaw"


class Marked:
    """A model's compute that raises where a row begins with `MARKED`."""

    value = 77.0

    def __init__(self, compute: Callable[[Any], Any], error: Callable[[], Exception]) -> None:
        self._compute, self._error = compute, error

    def __call__(self, requests: Any) -> Any:
        if any((request.rows[:, 0] == self.value).any() for request in requests):
            raise self._error()
        return self._compute(requests)


MARKED = Sent([("body", JSON, f"[[{Marked.value},0.4,0.5,0.2]]".encode())])
UNFORESEEN = {
    "a bug": (lambda: RuntimeError(f"{MARK * 500}\n[METRICS]a:1\n\ud800"), 500, "ServerFault"),
    "no memory": (MemoryError, 413, "BodyTooLarge"),
    "no memory for torch": (lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory"), 413, "BodyTooLarge"),
}


@pytest.mark.parametrize("name", UNFORESEEN)
def test_what_cannot_be_computed_is_found_and_answered_alone(
    tick: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    error, status, kind = UNFORESEEN[name]
    good = GOOD_REQUESTS["tick"]
    alone = [tick.answer([request])[0] for request in good]
    monkeypatch.setattr(tick.handler.model, "compute", Marked(tick.handler.model.compute, error))

    *answers, failed = tick.answer([*good, MARKED])

    assert answers == alone
    refusal = orjson.loads(failed.body)
    assert (failed.status, refusal["error"]) == (status, kind)
    assert "request id-3" in refusal["detail"]
    assert MARK not in refusal["detail"]
    (record,) = caplog.records
    first, *lines = record.getMessage().splitlines()
    assert (record.levelname, first) == ("ERROR", "request id-3 failed")
    assert "    Traceback (most recent call last):" in lines
    assert all(line.startswith("    ") and line.isascii() and len(line) <= 304 for line in lines)


def test_a_batch_that_fails_as_a_whole_is_answered_one_by_one_and_logged(
    tick: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    good, compute = GOOD_REQUESTS["tick"], tick.handler.model.compute
    alone = [tick.answer([request])[0] for request in good]
    monkeypatch.setattr(
        tick.handler.model, "compute", lambda batch: compute(batch)[: len(batch[0])]
    )  # rows are missing

    assert tick.answer(good) == alone
    (record,) = caplog.records
    assert "a batch of 3 requests" in record.getMessage()
    assert "got 1" in record.getMessage()


def test_what_cannot_be_encoded_fails_alone(tick: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    good, columns = GOOD_REQUESTS["tick"], tick.handler.model.columns
    alone = [tick.answer([request])[0] for request in good]

    def two_rows_only(table: np.ndarray) -> Any:
        if len(table) == 2:
            raise TypeError("neither this nor that")
        return columns(table)

    monkeypatch.setattr(tick.handler.model, "columns", two_rows_only)
    failed, *answers = tick.answer([Sent([("body", JSON, b"[[1,2,3,4],[1,2,3,4]]")]), *good])

    assert answers == alone
    assert (failed.status, orjson.loads(failed.body)["error"]) == (500, "ServerFault")
