"""Whatever answers on the server's port: the client returns the model's exact bits or raises a typed error."""

import itertools
import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from misbehaving_server import (
    CLASSES,
    METADATA,
    MODES,
    SCHEMA,
    MisbehavingServer,
    Reply,
    Request,
    described,
    good,
    probabilities,
)

from nautilus_torchserve.serving.client.client import InferenceClient, connect
from nautilus_torchserve.wire.errors import (
    BY_NAME,
    InvalidResponse,
    ModelChanged,
    OutputNotFinite,
    RequestError,
    SchemaMismatch,
)

ROWS = np.random.default_rng(1).normal(size=(2, 4)).astype(np.float32)
RIGHT = probabilities(ROWS)
ENDLESS = ("never", "drips", "100-for-ever")
"""Modes that only the timeout ends."""


@pytest.fixture(scope="module")
def server() -> Iterator[MisbehavingServer]:
    with MisbehavingServer() as running:
        yield running


@pytest.fixture
def client(server: MisbehavingServer) -> Iterator[InferenceClient]:
    """Of a server that has behaved so far."""
    server.mode = server.describe = good
    with connect(server.url, "tick", schema=SCHEMA) as connected:
        yield connected


def bits(client: InferenceClient, rows: np.ndarray = ROWS) -> np.ndarray:
    answer = client.predict(rows)
    assert (answer.version, answer.digest) == ("1.0", METADATA["archive_digest"])
    return np.stack([answer.outputs[name] for name in CLASSES], axis=1)


def is_sentence(error: RequestError, url: str) -> bool:
    """Return whether the message is one printable line of a bounded length that names the place."""
    text = str(error)
    return url in text and text.isprintable() and len(text) < 500


@pytest.mark.parametrize("name", MODES)
def test_an_invalid_response_raises_a_typed_error(
    name: str, server: MisbehavingServer, client: InferenceClient
) -> None:
    server.mode, expected = MODES[name]
    if name in ENDLESS:
        client._timeout_s = 0.3  # type: ignore[attr-defined]

    with pytest.raises(RequestError) as caught:
        client.predict(ROWS)

    client._timeout_s = 5.0  # type: ignore[attr-defined]
    assert type(caught.value) in (expected if isinstance(expected, tuple) else (expected,)), caught.value
    assert is_sentence(caught.value, server.url), caught.value
    server.mode = good
    assert bits(client).tobytes() == RIGHT.tobytes()  # over a connection on which nothing is left of that


def test_one_row_is_checked_as_many_are(server: MisbehavingServer, client: InferenceClient) -> None:
    assert bits(client, ROWS[:1]).tobytes() == RIGHT[:1].tobytes()
    for name in ("nan", "ones", "above-1"):
        server.mode, expected = MODES[name]
        with pytest.raises(RequestError) as caught:
            client.predict(ROWS[:1])
        assert type(caught.value) is expected


def test_a_body_whose_end_is_the_connections_is_the_same_answer(
    server: MisbehavingServer, client: InferenceClient
) -> None:
    server.mode = lambda request: Reply(probabilities(request.rows).tobytes(), length=None, ends="close")

    assert bits(client).tobytes() == RIGHT.tobytes()


def test_a_late_answer_to_another_request_is_not_taken_for_this_one(
    server: MisbehavingServer, client: InferenceClient
) -> None:
    earlier: list[bytes] = []

    def late(request: Request) -> Reply:
        """Every third request is preceded by one more answer to the request before it."""
        right = Reply(probabilities(request.rows).tobytes()).encode(request)
        sent = earlier[-1] + right if len(earlier) % 3 == 2 else right
        earlier.append(right)
        return Reply(raw=sent)

    server.mode = late
    outcomes, messages = [], set()
    for rows in np.random.default_rng(2).normal(size=(60, 1, 4)).astype(np.float32):
        try:
            outcomes.append(bits(client, rows).tobytes() == probabilities(rows).tobytes())
        except InvalidResponse as error:
            outcomes.append(None)
            messages.add(str(error).partition(" request ")[0])

    assert messages == {f"{server.url}/predictions/tick: expected the answer to"}
    assert outcomes.count(None) == 20
    assert False not in outcomes


def test_archives_that_send_no_id_back_get_requests_over_new_connections(server: MisbehavingServer) -> None:
    ports = set()

    def older(request: Request) -> Reply:
        reply = good(request)
        reply.headers["x-client-request-id"] = None
        return reply

    server.mode = server.describe = older
    served = server._serve
    server._serve = lambda connection: (ports.add(connection.getpeername()), served(connection))  # type: ignore
    try:
        with connect(server.url, "tick") as client:
            assert all(bits(client).tobytes() == RIGHT.tobytes() for _ in range(5))
    finally:
        server._serve = served  # type: ignore[method-assign]
    assert len(ports) == 6


FEATURES = [
    {"name": column.name, "unit": column.unit, "value": 1.0, "baseline": 0.0, "attribution": 0.5}
    for column in SCHEMA.columns
]
EXPLANATION = {"output": "buy", "value": 0.5, "baseline_value": 0.25, "baseline": "a mean row", "features": FEATURES}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output": "sell"}, "expected output buy, got sell"),
        ({"output": None}, "expected output buy, got None"),
        ({"value": None}, "expected value as a finite number, got None"),
        ({"baseline_value": "0"}, "expected baseline_value as a finite number, got 0"),
        ({"features": FEATURES[:3]}, "expected features .*, got others"),
        ({"features": FEATURES[::-1]}, "expected features .*, got others"),
        ({"features": 7}, "expected features as a list of objects, got 7"),
        ({"features": [{**FEATURES[0], "attribution": None}, *FEATURES[1:]]}, "expected attribution as a finite"),
        ({"attributions": [0.5, 0.5]}, r"expected attributions of shape \[4\], got another"),
        ({"attributions": [[0.5] * 4]}, r"expected attributions of shape \[4\], got another"),
        ({"window": [9.0, 9.0, 9.0, 9.0]}, "expected the window that was sent, got another"),
    ],
)
def test_explanations_are_of_the_inputs_that_were_sent(
    changes: dict[str, Any], message: str, server: MisbehavingServer, client: InferenceClient
) -> None:
    def explained(explanation: dict[str, Any]) -> Any:
        text = json.dumps({"explanations": [EXPLANATION, explanation]}).encode()
        return lambda request: Reply(text, headers={"Content-Type": "application/json"})

    server.mode = explained(EXPLANATION)
    assert client.explain(ROWS, "buy").explanations == [EXPLANATION] * 2
    server.mode = explained(EXPLANATION | changes)
    with pytest.raises(InvalidResponse, match=f"explanation 1: {message}"):
        client.explain(ROWS, "buy")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"explanations": 1}', b'{"explanations": [{}]}', b'{"explanations": [[], []]}', b'{"expl',
     b'{"explanations": [{"value": NaN}, {}]}', b'{"explanations": [{"value": 1e999}, {}]}', b"[" * 100_000],
)  # fmt: skip
def test_an_invalid_explanation_is_refused_with_the_reason(
    body: bytes, server: MisbehavingServer, client: InferenceClient
) -> None:
    server.mode = lambda request: Reply(body, headers={"Content-Type": "application/json"})

    with pytest.raises(InvalidResponse, match="expected 2 explanations, got") as caught:
        client.explain(ROWS)
    assert is_sentence(caught.value, server.url)


def versions(**answering: Any) -> Any:
    """Return the replies of a server whose default version has become 2.0, with this description."""

    def reply(request: Request) -> Reply:
        if request.method == "GET":
            return described(version="2.0", archive_digest="2" * 64, **answering)
        return Reply(
            probabilities(request.rows).tobytes(), headers={"x-model-version": "2.0", "x-archive-digest": "2" * 64}
        )

    return reply


def test_a_version_that_has_not_answered_before_describes_itself_first(
    server: MisbehavingServer, client: InferenceClient
) -> None:
    server.mode = server.describe = versions()

    assert client.predict(ROWS).version == "2.0"
    assert client.metadata.version == "1.0"


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"outputs": ["sell", "buy", "hold"]}, SchemaMismatch, "expected outputs buy, sell, hold, got sell, buy, hold"),
        ({"inputs": "texts"}, SchemaMismatch, "expected inputs rows, got texts"),
        ({"feature_schema": METADATA["feature_schema"] | {"time_steps": 2}}, SchemaMismatch, "expected rows of shape"),
        ({"feature_schema_sha256": "f" * 64}, InvalidResponse, "as it answered, got others"),
        ({"version": "2.1"}, InvalidResponse, r"expected version 2\.0, got 2\.1"),
        ({"archive_digest": "3" * 64}, ModelChanged, "expected archive 333333333333"),
        ({"outputs": "buy"}, InvalidResponse, "expected outputs as a list"),
    ],
)
def test_the_numbers_of_a_version_with_other_outputs_are_not_used(
    changes: dict[str, Any], kind: type[RequestError], message: str, server: MisbehavingServer, client: InferenceClient
) -> None:
    server.mode = versions()
    server.describe = lambda request: described(**{"version": "2.0", "archive_digest": "2" * 64, **changes})

    for _ in range(2):  # not the second time either
        with pytest.raises(kind, match=message) as caught:
            client.predict(ROWS)
        assert type(caught.value) is kind


def test_responses_are_checked_against_the_new_versions_constraints(
    server: MisbehavingServer, client: InferenceClient
) -> None:
    server.mode = server.describe = versions(output_constraints={"ranges": {"buy": {"minimum": 0.9}}})

    with pytest.raises(RequestError, match=r"expected buy in \[0\.9, inf\)"):
        client.predict(ROWS)


def test_a_fixed_version_is_answered_by_no_other(server: MisbehavingServer) -> None:
    server.mode = server.describe = good
    with connect(server.url, "tick", "1.0") as client:
        server.mode = versions()
        with pytest.raises(InvalidResponse, match=r"expected an answer by version 1\.0, got one by 2\.0"):
            client.predict(ROWS)
    with pytest.raises(InvalidResponse, match=r"expected version 2\.0, got 1\.0"):
        connect(server.url, "tick", "2.0")


def test_a_description_whose_hash_is_another_schemas_is_refused(server: MisbehavingServer) -> None:
    server.describe = lambda request: described(feature_schema=METADATA["feature_schema"] | {"time_steps": 3})

    with pytest.raises(InvalidResponse, match="expected the feature schema of hash"):
        connect(server.url, "tick", schema=SCHEMA)


@pytest.mark.parametrize("body", [b"[" + b",".join([b"[]"] * 1_300_000) + b"]", b'"' + b"x" * 5_000_000 + b'"'])
def test_a_description_is_bounded_before_it_is_parsed(server: MisbehavingServer, body: bytes) -> None:
    server.describe = lambda request: Reply(body)

    with pytest.raises(InvalidResponse, match=r"expected a (description|body) of at most [0-9,]+ (values|bytes), got"):
        connect(server.url, "tick")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=80, deadline=None)
@given(
    st.binary(max_size=99)
    | st.builds(
        lambda changes: json.dumps(METADATA | changes).encode(),
        st.dictionaries(st.sampled_from([*METADATA, "inputs", "label", "fits"]), JSON_VALUES, max_size=2),
    )
    | st.builds(lambda depth, text: text.encode() * depth, st.integers(1, 5000), st.sampled_from(["[", '{"a":', "9"]))
)
def test_any_description_is_taken_or_refused_in_a_sentence(server: MisbehavingServer, body: bytes) -> None:
    server.describe = lambda request: Reply(body)
    try:
        connect(server.url, "tick").close()
    except RequestError as error:
        assert is_sentence(error, server.url), error  # noqa: PT017 - a sentence or nothing


NAMES = ["Content-Type", "x-model-version", "x-archive-digest", "x-feature-schema", "Content-Length", "Connection",
         "Transfer-Encoding", "Content-Encoding", "x-client-request-id", "Location", "Upgrade"]  # fmt: skip
VALUES = st.sampled_from(["", "1.0", "24", "0", "-1", "application/octet-stream", "text/html", "chunked", "gzip",
                          "close", "/predictions/tick", "x, y", "1.0\r\nx-model-version: 2.0"])  # fmt: skip
STATUSES = st.sampled_from(["200 OK", "200", "201 Created", "204 No", "301 Moved", "400 Bad", "404 No", "422 Un",
                            "500 Err", "503 Busy", "599", "20 OK", "+200 OK", "0200 OK", "200.5"])  # fmt: skip
ERRORS = st.sampled_from(sorted(BY_NAME)).map(lambda name: json.dumps({"error": name, "detail": "x"}).encode())
BODIES = (
    st.sampled_from([RIGHT.tobytes(), RIGHT.tobytes()[:-1], b"", RIGHT.tobytes() * 2])
    | ERRORS
    | st.binary(max_size=48)
    | st.lists(st.floats(width=32), min_size=6, max_size=6).map(lambda row: np.array(row, "<f4").tobytes())
)


@settings(max_examples=120, deadline=None)
@given(
    status=STATUSES,
    headers=st.dictionaries(st.sampled_from(NAMES), st.none() | VALUES, max_size=3),
    body=BODIES,
    more=st.sampled_from([b"", b"x-model-version: 1.0\r\n", b" folded\r\n", b": empty\r\n", b"no colon\r\n"]),
    ends=st.sampled_from(["close", "reset"]),
)
def test_any_response_is_the_exact_bits_or_a_typed_error(
    server: MisbehavingServer, status: str, headers: dict[str, str | None], body: bytes, more: bytes, ends: str
) -> None:
    server.describe, server.mode = good, lambda request: Reply(body, status, headers, more, ends=ends)
    with connect(server.url, "tick") as client:
        try:
            got = bits(client)
        except RequestError as error:
            assert is_sentence(error, server.url), error  # noqa: PT017 - or the bits
        else:
            # what cannot be detected in a response: probabilities that sum to 1, with everything else in its place
            assert got.tobytes() == body[: RIGHT.nbytes]
            assert (abs(got.sum(axis=1) - 1) < 1e-3).all()
            assert ((got >= -1e-5) & (got <= 1 + 1e-5)).all()
        server.mode = good
        assert bits(client).tobytes() == RIGHT.tobytes()


def test_threads_of_one_client_get_their_own_answers(server: MisbehavingServer, client: InferenceClient) -> None:
    garbage = itertools.cycle([good, MODES["other-id"][0], good, MODES["closed"][0], MODES["nan"][0]])
    server.mode = lambda request: next(garbage)(request)
    wrong: list[np.ndarray] = []

    def ask(seed: int) -> None:
        for rows in np.random.default_rng(seed).normal(size=(30, 1, 4)).astype(np.float32):
            try:
                if bits(client, rows).tobytes() != probabilities(rows).tobytes():
                    wrong.append(rows)
            except (InvalidResponse, OutputNotFinite, BY_NAME["Unavailable"]):
                pass

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
    server.mode = good
    assert bits(client).tobytes() == RIGHT.tobytes()
