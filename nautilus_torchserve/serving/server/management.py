"""TorchServe's management port: the registered versions, and the default one."""

import time
from contextlib import suppress
from typing import Any, TypedDict

import msgspec
import orjson
import requests

from nautilus_torchserve.serving.http_session import HttpSession
from nautilus_torchserve.serving.token_source import TokenSource, with_token
from nautilus_torchserve.serving.tokens import NoToken, Token
from nautilus_torchserve.user_error import UserError

TIMEOUT_S = 10.0
"""Longest wait for one response, seconds."""
_MAX_REASON = 200
TOKEN_REFUSED = "InvalidKeyException"
"""TorchServe's name of every refusal of a token, whose HTTP status is 400 like that of other errors."""


class ManagementError(UserError):
    """The management port refused or could not be reached; ``code`` is its HTTP status (0: no answer)."""

    def __init__(self, call: str, code: int, text: str) -> None:
        super().__init__(f"{call}: {code or 'no answer'}: {text}")
        self.code = code


class TokenRefused(ManagementError):
    """The management port refused the token, and no other one was found."""

    def __init__(self, message: str) -> None:
        Exception.__init__(self, message)
        self.code = 400


class _Worker(TypedDict):
    id: str
    pid: int
    status: str


class _Queue(TypedDict):
    pendingRequests: int


class _Status(TypedDict):
    """Fields that the status of every version has."""

    modelVersion: str
    modelUrl: str
    minWorkers: int
    maxWorkers: int
    workers: list[_Worker]
    jobQueueStatus: _Queue


class _Entry(TypedDict):
    modelName: str


class _Page(TypedDict):
    models: list[_Entry]


class ManagementClient:
    """Client of the management port, for what rollouts need.

    Parameters
    ----------
    url : str
        ``http://127.0.0.1:8081``.
    token : Token, optional
        The management token; a `TokenSource` is followed when it changes, and renewed where it can be.
    """

    def __init__(self, url: str, token: Token = None) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._session = HttpSession()

    def model_names(self) -> list[str]:
        """Return the names of the registered models."""
        names: list[str] = []
        page: str | None = "0"
        while page is not None:
            listing = self._call("GET", "/models", _Page, params={"limit": 100, "next_page_token": page})
            names += [entry["modelName"] for entry in listing["models"]]
            page = listing.get("nextPageToken")
            if page is not None and not listing["models"]:  # would go on for ever
                raise ManagementError(f"GET {self._url}/models", 200, "expected models on each page, got none")
        return names

    def default_version(self, model: str) -> str | None:
        """Return the version that answers requests without one; None for a model that is not registered."""
        try:
            return self.describe(model)[0]["modelVersion"]
        except ManagementError as error:
            if error.code != 404:
                raise
            return None

    def versions(self, model: str) -> dict[str, dict[str, Any]]:
        """Return version -> status of all that are registered, failed ones too; empty for an unknown model."""
        try:
            return {status["modelVersion"]: status for status in self.describe(model, "all")}
        except ManagementError as error:
            if error.code != 404:
                raise
            return {}

    def describe(self, model: str, version: str | None = None, customized: bool = False) -> list[dict[str, Any]]:
        """Return the status of one version, of the default one, or with ``version="all"`` of every one.

        ``customized`` adds the handler's own description as ``customizedMetadata``.
        """
        path = f"/models/{model}" + (f"/{version}" if version else "")
        statuses: list[dict[str, Any]] = self._call(
            "GET", path, list[_Status], params={"customized": "true"} if customized else None
        )
        if not statuses:
            raise ManagementError(f"GET {self._url}{path}", 200, "expected the status of a version, got an empty list")
        return statuses

    def is_ready(self, model: str, version: str | None = None) -> bool:
        """Return whether at least ``minWorkers`` (and one) workers run and all of them are READY."""
        status = self.describe(model, version)[0]
        workers = status["workers"]
        ready = all(worker["status"] == "READY" for worker in workers)
        return ready and len(workers) >= max(1, status["minWorkers"])

    def register(self, archive: str, **options: str | int) -> None:
        """Register an archive of the model store; returns before its workers are up.

        ``options`` are TorchServe's: ``model_name``, ``initial_workers``, ``batch_size``,
        ``max_batch_delay`` (ms), ... A failed registration may leave a version without workers
        behind: unregister it.
        """
        merged = {"initial_workers": 1, **options}
        self._call("POST", "/models", json={"url": archive, "synchronous": False, **merged})

    def wait_ready(self, model: str, version: str, within_s: float = 60.0) -> None:
        """Wait for a version's workers.

        Raises
        ------
        ManagementError
            Not ready in time.
        """
        deadline = time.monotonic() + within_s
        while not self.is_ready(model, version):
            if time.monotonic() > deadline:
                raise ManagementError(
                    f"{model}/{version}", 0, f"expected workers READY within {within_s:g} s, got none"
                )
            time.sleep(0.05)

    def scale_up(self, model: str, version: str, workers: int) -> None:
        """Raise the number of workers; returns before they are up. Fewer would kill running requests."""
        self._call(
            "PUT",
            f"/models/{model}/{version}",
            params={"min_worker": workers, "max_worker": workers, "synchronous": "false"},
        )

    def set_default(self, model: str, version: str) -> None:
        """Make this the default version."""
        self._call("PUT", f"/models/{model}/{version}/set-default")

    def unregister(self, model: str, version: str | None = None) -> None:
        """Remove a version; running and queued requests of it are lost, so drain first. Gone already is fine."""
        try:
            self._call("DELETE", f"/models/{model}" + (f"/{version}" if version else ""))
        except ManagementError as error:
            if error.code != 404:
                raise

    def _call(self, method: str, path: str, kind: Any = None, **options: Any) -> Any:
        """Make a call; return its JSON, checked against ``kind``."""
        call = f"{method} {self._url}{path}"
        if isinstance(self._token, TokenSource):
            with suppress(NoToken):  # the server decides whether the one at hand will do, and says why not
                self._token.refresh()
        code, content = with_token(
            self._token, lambda token: self._send(call, method, path, token, options), TokenRefused
        )
        if kind is None:
            return None
        try:
            document = orjson.loads(content)
            msgspec.convert(document, kind)
        except ValueError as error:
            got = shown(content) if isinstance(error, orjson.JSONDecodeError) else f"{error}"[:_MAX_REASON]
            raise ManagementError(call, code, f"expected TorchServe's JSON, got {got}") from None
        return document

    def _send(self, call: str, method: str, path: str, token: str | None, options: dict[str, Any]) -> tuple[int, bytes]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            code, content = self._session.fetch(method, self._url + path, TIMEOUT_S, headers=headers, **options)
        except requests.RequestException as error:
            raise ManagementError(call, 0, f"{error}"[:_MAX_REASON]) from error
        if code >= 400:
            if code == 400 and TOKEN_REFUSED.encode() in content:
                raise TokenRefused(f"{call}: {code}: {shown(content)}")
            raise ManagementError(call, code, shown(content))
        return code, content


def described_digest(status: dict[str, Any]) -> Any:
    """Return the content digest in a version's customized status; None where its handler does not describe it."""
    metadata = status.get("customizedMetadata")
    return metadata.get("archive_digest") if isinstance(metadata, dict) else None


def shown(content: bytes) -> str:
    """Return the message of an answer in TorchServe's form, else how the answer begins; at most 200 characters."""
    try:
        text = orjson.loads(content)["message"]
    except (ValueError, TypeError, KeyError):
        text = content[:_MAX_REASON].decode(errors="replace")
    return " ".join(f"{text}".split())[:_MAX_REASON] or "an empty answer"
