"""What the attack counts as harm, and that it counts it."""

import json
from pathlib import Path
from random import Random

import numpy as np
import pytest

from fault_injection.answers import attack_answers
from fault_injection.drafts import Draft, encoded
from fault_injection.garbage_predictions import attack_strategy
from fault_injection.grammar import KINDS, make_case
from fault_injection.judging import (
    DIFFERS,
    FOREIGN,
    FRONT_ERROR,
    FRONT_LEAKS,
    HARMED,
    LEAKS,
    LONG_ERROR,
    SERVER_ERROR,
    judge,
)
from fault_injection.raw_http import Response
from fault_injection.samples import Sample, Subject
from fault_injection.verdict import Failure, Findings

TABLE = np.array([[0.25, 0.5, 0.25]], np.float32)
SAMPLE = Sample("application/json", b"[[1, 2, 3, 4]]", TABLE)
SUBJECT = Subject("tick", "tick-many", "rows", (4,), ("buy", "sell", "hold"), "d1", (SAMPLE,))
RIGHT = {"content-type": "application/octet-stream", "x-archive-digest": "d1", "x-client-request-id": "r1"}
GOOD, MALFORMED = Draft(sample=SAMPLE), Draft()
AS_JSON = json.dumps({"outputs": {"buy": [0.25], "sell": [0.5], "hold": [0.25]}}).encode()
OTHER_BIT = np.nextafter(TABLE, np.float32(1)).tobytes()


def front(kind: str, message: str) -> bytes:
    return json.dumps({"code": 500, "type": kind, "message": message}).encode()


@pytest.mark.parametrize(
    ("draft", "response", "counts"),
    [
        (GOOD, Response(200, RIGHT, TABLE.tobytes()), []),
        (GOOD, Response(200, {**RIGHT, "content-type": "application/json"}, AS_JSON), []),
        (GOOD, Response(200, RIGHT, OTHER_BIT), [DIFFERS]),
        (
            GOOD,
            Response(200, {**RIGHT, "content-type": "application/json"}, AS_JSON.replace(b"0.5", b"0.501")),
            [DIFFERS],
        ),
        (GOOD, Response(200, {**RIGHT, "x-archive-digest": "d2"}, TABLE.tobytes()), [DIFFERS]),
        (GOOD, Response(200, {**RIGHT, "x-client-request-id": "r2"}, TABLE.tobytes()), [FOREIGN]),
        (GOOD, Response(503, {}, front("InternalServerException", "Prediction failed")), [HARMED]),
        (MALFORMED, Response(400, {}, b'{"code": 400, "error": "BadShape", "detail": "no"}'), []),
        (MALFORMED, Response(503, {}, front("InternalServerException", "Prediction failed")), [SERVER_ERROR]),
        (MALFORMED, Response(500, {}, front("InternalServerException", "Worker died.")), [SERVER_ERROR]),
        (MALFORMED, Response(500, {}, b'{"code": 500, "error": "ServerFault"}'), [SERVER_ERROR]),
        (MALFORMED, Response(504, {}, b'{"code": 504, "error": "DeadlinePassed"}'), []),
        (
            MALFORMED,
            Response(500, {}, front("ErrorDataDecoderException", "java.lang.X: y")),
            [FRONT_ERROR, FRONT_LEAKS],
        ),
        (MALFORMED, Response(400, {}, b'{"code": 400, "error": "BadType", "detail": "/home/me/x.py"}'), [LEAKS]),
        (
            MALFORMED,
            Response(400, {}, b'{"code": 400, "error": "BadType", "detail": "%s"}' % (b"a" * 1000)),
            [LONG_ERROR],
        ),
    ],
)
def test_an_answer_is_counted_by_what_it_harms(draft: Draft, response: Response, counts: list[str]) -> None:
    assert [count for count, _ in judge(draft, response, SUBJECT, "r1")] == counts


def test_a_path_that_the_request_itself_names_is_no_leak() -> None:
    response = Response(400, {}, b'{"code": 400, "error": "BadType", "detail": "/home/me"}')

    assert judge(MALFORMED, response, SUBJECT, "r1", b"POST ... /home/me") == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_makes_the_same_request_again(kind: str) -> None:
    def made(index: int) -> bytes:
        return encoded(KINDS[kind][1](SUBJECT, Random(index)), "tick", "localhost", "token")

    first = [made(index) for index in range(20)]

    assert [made(index) for index in range(20)] == first
    assert len(set(first)) > 1


def test_half_of_the_requests_are_good_and_all_kinds_come() -> None:
    kinds = [make_case(SUBJECT, 1, index)[0] for index in range(2000)]

    assert 0.45 < kinds.count("good") / len(kinds) < 0.55
    assert set(kinds) >= {"good", *KINDS} - {"large answer"}


def test_a_count_that_must_be_zero_decides() -> None:
    findings = Findings("x", ("harm",), {"cases": 3})
    assert findings.ok

    findings.fail(Failure("harm", "kind", "what", "x --seed 1 --index 2"))

    assert not findings.ok
    assert findings.as_dict()["counts"] == {"harm": 1, "cases": 3}


def test_a_client_makes_errors_or_the_models_bits_of_any_answer(tick_archive: Path) -> None:
    findings = attack_answers(tick_archive, seed=3, count=60, time_limit_s=60, live_runs=0)

    assert findings.ok, findings.failures
    assert findings.counts["answers"] == 60


def test_no_order_on_garbage_that_is_published() -> None:
    assert attack_strategy(seed=2, count=200) == 0
