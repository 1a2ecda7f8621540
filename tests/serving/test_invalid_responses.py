"""A client's error names what it expected and what it got, whatever responds at its URL."""

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nautilus_torchserve.features.tick import tick_schema
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.serving.model_metadata import FitRecord, ModelMetadata
from nautilus_torchserve.wire import errors
from nautilus_torchserve.wire.errors import IncompleteMetadata, InvalidResponse, RequestError

METADATA: dict[str, Any] = {
    "model": "tick",
    "version": "1.0",
    "archive_digest": "0" * 64,
    "outputs": ["buy", "sell", "hold"],
    "feature_schema": tick_schema().to_dict(),
    "feature_schema_sha256": tick_schema().sha256,
}
DESCRIPTION = json.dumps(METADATA).encode()
NAMED = "expected outputs as a list of 1 to 1024 different names"


class Endpoint(ThreadingHTTPServer):
    """Answers a GET with ``described`` and a POST with ``answered``: status, headers, body."""

    daemon_threads = True
    described: tuple[int, dict[str, str], bytes] = (200, {}, DESCRIPTION)
    answered: tuple[int, dict[str, str], bytes] = (200, {}, b"")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Scripted(BaseHTTPRequestHandler):
    server: Endpoint

    def do_GET(self) -> None:
        self._answer(*self.server.described)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(*self.server.answered)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with Endpoint(("127.0.0.1", 0), Scripted) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "a JSON object in which the model describes itself, got an empty body"),
        (b"<!DOCTYPE html><html><body>Login</body>", r"got 39 bytes that begin with '<!DOCTYPE html>"),
        (DESCRIPTION[:-20], "describes itself, got .* that begin with"),
        (b"\xff\xfe\x00", "describes itself, got 3 bytes"),
        (b"null", "does not describe itself, got None: a model that is traded on answers"),
        (b"[1, 2]", r"does not describe itself, got \[1, 2\]"),
        (b'{"code": 200}', "does not describe itself, got no version, archive_digest, outputs"),
        (json.dumps(METADATA | {"outputs": "buy"}).encode(), NAMED + ", got buy"),
        (json.dumps(METADATA | {"outputs": []}).encode(), NAMED + r", got \[\]"),
        (json.dumps(METADATA | {"version": 1}).encode(), r"expected version as a version of .* got 1"),
        (json.dumps(METADATA | {"version": "../1"}).encode(), r"expected version as a version of .* got \.\./1"),
        (json.dumps(METADATA | {"outputs": ["buy", "buy"]}).encode(), NAMED + ", got ..buy"),
        (json.dumps(METADATA | {"output_constraints": []}).encode(), "expected output_constraints with ranges"),
        (json.dumps(METADATA | {"inputs": "images"}).encode(), "expected inputs as one of rows, texts"),
        (json.dumps(METADATA | {"feature_schema": {}}).encode(), "expected a feature schema with name, columns"),
        (json.dumps(METADATA | {"training": []}).encode(), r"expected training as an object, got \[\]"),
        (json.dumps(METADATA | {"training": {"last_ts_event": "x"}}).encode(), "training.last_ts_event as Unix nano"),
        (json.dumps(METADATA | {"label": {"horizon": 0}}).encode(), "label.horizon as a positive integer, got 0"),
        (json.dumps(METADATA | {"bars": {"indicators": 1}}).encode(), "bars.indicators as true or false, got 1"),
        (json.dumps(METADATA | {"fits": {}}).encode(), r"expected fits as a list of objects, got \{\}"),
        (json.dumps(METADATA | {"fits": [{"prices": "a b"}]}).encode(), "expected fits.prices as base64"),
    ],
)
def test_an_invalid_description_is_refused_with_the_reason(endpoint: Endpoint, body: bytes, message: str) -> None:
    endpoint.described = (200, {}, body)

    with pytest.raises(InvalidResponse, match=rf"^{endpoint.url}/predictions/tick: .*{message}") as caught:
        connect(endpoint.url, "tick")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (301, b"", InvalidResponse),
        (204, b"", InvalidResponse),
        (404, b"<html>nginx</html>", InvalidResponse),
        (404, b'{"code": 404, "type": "ModelNotFoundException", "message": "Model not found: x"}', errors.UnknownModel),
        (502, b"<html>Bad Gateway</html>", InvalidResponse),
        (599, b"\x00\xff", InvalidResponse),
        (400, b'{"error": ["x"], "message": 5}', InvalidResponse),
        (503, b'{"code": 503, "message": "Model has no worker"}', errors.Unavailable),
        (503, b'{"code": 503, "message": "Prediction failed"}', InvalidResponse),
        (400, b'{"error": "BadShape", "detail": 7}', InvalidResponse),
        (400, b'{"error": "EmptyBody", "detail": "no rows"}', InvalidResponse),
    ],
)
def test_a_refusal_of_any_form_is_typed(endpoint: Endpoint, status: int, body: bytes, kind: type[RequestError]) -> None:
    endpoint.described = (status, {}, body)

    with pytest.raises(RequestError, match=endpoint.url) as caught:
        connect(endpoint.url, "tick")
    assert type(caught.value) is kind


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                *METADATA,
                "training",
                "label",
                "bars",
                "news",
                "metrics",
                "fits",
                "tile_rows",
                "device",
                "explained_outputs",
            ]
        ),
        VALUES,
    )
)
def test_any_description_is_checked_or_refused(changed: dict[str, Any]) -> None:
    with suppress(ValueError):
        checked = ModelMetadata.from_dict(METADATA | changed)
        msgspec.convert(msgspec.to_builtins(checked), ModelMetadata)  # each field is of the type that it is declared as
        assert checked.feature_schema.row_shape


def test_a_missing_field_of_the_description_is_named() -> None:
    metadata = ModelMetadata.from_dict(METADATA | {"label": {"horizon": 5, "horizon_bars": 3}, "training": None})

    assert metadata.fit_records == (FitRecord(),)
    fitted = ModelMetadata.from_dict(METADATA | {"training": {"source": "x.csv", "last_ts_event": 5, "rows": 7}})
    assert fitted.fit_records == (FitRecord(source="x.csv", last_ts_event=5),)
    assert metadata.require_horizon_bars("it is") == 3
    with pytest.raises(IncompleteMetadata, match=r"tick 1\.0: expected label\.cost_bps in its model\.json, .*: for it"):
        metadata.require_move_label("for it")
    with pytest.raises(IncompleteMetadata, match=r"expected bars\.interval_ns, .* in its model\.json"):
        metadata.require_bars()
