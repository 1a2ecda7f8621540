"""Payloads that every server gets, and the check of its responses."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import orjson
import requests
from numpy.typing import NDArray

from nautilus_torchserve.serving.http_session import HttpSession
from nautilus_torchserve.user_error import UserError
from nautilus_torchserve.wire.body import BINARY, JSON, encode_rows

TICK, PRICE = "tick", "price"
MANY, MANY_WINDOWS = 1024, 64
ONE_JSON, ONE_BINARY, MANY_BINARY = "one row, JSON", "one row, binary", f"{MANY:,} rows, binary"
WINDOW_JSON, WINDOW_BINARY, WINDOWS_BINARY = "one window, JSON", "one window, binary", f"{MANY_WINDOWS} windows, binary"
ReadJson = Callable[[bytes], NDArray[np.float32]]
_TIMEOUT_S = 10.0


class WrongResponse(UserError):
    """A server's outputs differ from the archive's."""


@dataclass(frozen=True)
class Payload:
    """Rows in one of the two forms of a request."""

    name: str
    rows: NDArray[np.float32]
    """float32 [n, 4], or windows [n, 60, columns]."""
    binary: bool
    model: str = TICK
    """Model whose servers get it."""

    @property
    def headers(self) -> dict[str, str]:
        """Content type of the request, and the same for the response."""
        form = BINARY if self.binary else JSON
        return {"Content-Type": form, "Accept": form}

    @property
    def body(self) -> bytes:
        """The request's body."""
        return encode_rows(self.rows) if self.binary else orjson.dumps(self.rows.tolist())


@dataclass(frozen=True)
class Server:
    """A server under test, running."""

    name: str
    url: str
    """URL that predictions are posted to."""
    headers: Mapping[str, str]
    """Headers of its token, where it requires one."""
    read_json: ReadJson
    """Decodes its JSON response to float32 [n, outputs]."""
    tolerance: float
    """Tolerance of its outputs: other batch sizes give other last bits."""
    model: str = TICK
    """Model that it serves."""


def make_payloads(seed: int = 7) -> list[Payload]:
    """Return one row as JSON and as bytes, and `MANY` rows as bytes."""
    random = np.random.default_rng(seed)
    rows = random.normal(0.0, 1.0, (MANY, 4)).astype(np.float32)
    return [
        Payload(ONE_JSON, rows[:1], binary=False),
        Payload(ONE_BINARY, rows[:1], binary=True),
        Payload(MANY_BINARY, rows, binary=True),
    ]


def make_window_payloads(windows: NDArray[np.float32]) -> list[Payload]:
    """Return one window as JSON and as bytes, and `MANY_WINDOWS` as bytes.

    Parameters
    ----------
    windows : float32 [n, 60, columns]
        Any that the model takes, for example its golden rows; repeated where they are too few.
    """
    many = np.resize(windows, (MANY_WINDOWS, *windows.shape[1:]))
    return [
        Payload(WINDOW_JSON, many[:1], binary=False, model=PRICE),
        Payload(WINDOW_BINARY, many[:1], binary=True, model=PRICE),
        Payload(WINDOWS_BINARY, many, binary=True, model=PRICE),
    ]


def check(server: Server, payload: Payload, expected: NDArray[np.float32]) -> None:
    """Send a payload once and compare the response.

    Parameters
    ----------
    expected : float32 [n, outputs]
        What the archive answers in process.

    Raises
    ------
    WrongResponse
        Another status than 200, other values, or no answer.
    """
    where = f"{server.name}, {payload.name}"
    try:
        with HttpSession() as session:
            response = session.post(
                server.url, data=payload.body, headers={**server.headers, **payload.headers}, timeout=_TIMEOUT_S
            )
    except requests.RequestException as error:
        raise WrongResponse(f"{where}: {error}") from error
    if response.status_code != 200:
        raise WrongResponse(f"{where}: expected status 200, got {response.status_code}: {response.text[:300]}")
    if payload.binary:
        table = np.frombuffer(response.content, dtype=np.float32).reshape(-1, expected.shape[1])
    else:
        table = server.read_json(response.content)
    if table.shape != expected.shape:
        raise WrongResponse(f"{where}: expected a response of shape {expected.shape}, got {table.shape}")
    off = float(np.abs(table - expected).max())
    if not off <= server.tolerance:
        raise WrongResponse(
            f"{where}: expected the archive's response within {server.tolerance:g}, got one off by {off:g}"
        )
