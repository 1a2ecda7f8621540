"""TorchServe's management port: which versions there are, and which one serves."""

import time
from typing import Any

import requests

from serving.http_session import HttpSession
from wire.user_error import UserError


class ManagementError(UserError):
    """The management port refused or could not be reached; carries its HTTP status (0: no answer)."""

    def __init__(self, call: str, code: int, text: str) -> None:
        super().__init__(f"{call}: {code or 'no answer'}: {text}")
        self.code = code


class ManagementClient:
    """The management calls that a rollout needs.

    Parameters
    ----------
    url : str
        ``http://127.0.0.1:8081``.
    token : str, optional
        The management token.
    timeout_s : float
        Longest wait for one answer, seconds.
    """

    def __init__(self, url: str, token: str | None = None, timeout_s: float = 10.0) -> None:
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._session = HttpSession()
        if token is not None:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def model_names(self) -> list[str]:
        """Names of the registered models."""
        names: list[str] = []
        page: str | None = "0"
        while page is not None:
            found = self._call("GET", "/models", params={"limit": 100, "next_page_token": page})
            names += [entry["modelName"] for entry in found["models"]]
            page = found.get("nextPageToken")
        return names

    def default_version(self, model: str) -> str | None:
        """The version that answers requests without one; None for a model that is not registered."""
        try:
            return self.describe(model)[0]["modelVersion"]
        except ManagementError as error:
            if error.code != 404:
                raise
            return None

    def versions(self, model: str) -> dict[str, dict[str, Any]]:
        """Version -> status of every registered one, failed ones too; empty for a model that is not registered."""
        try:
            return {each["modelVersion"]: each for each in self.describe(model, "all")}
        except ManagementError as error:
            if error.code != 404:
                raise
            return {}

    def describe(self, model: str, version: str | None = None, customized: bool = False) -> list[dict[str, Any]]:
        """Status of one version, of the default one, or with ``version="all"`` of every one.

        ``customized`` adds the handler's own description as ``customizedMetadata``.
        """
        path = f"/models/{model}" + (f"/{version}" if version else "")
        return self._call("GET", path, params={"customized": "true"} if customized else None)

    def is_ready(self, model: str, version: str | None = None) -> bool:
        """Whether at least ``minWorkers`` (and one) workers run and all of them are READY."""
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
        given = {"initial_workers": 1, **options}
        self._call("POST", "/models", json={"url": archive, "synchronous": False, **given})

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
                raise ManagementError(f"{model}/{version}", 0, f"workers READY within {within_s:g} s expected")
            time.sleep(0.05)

    def scale_up(self, model: str, version: str, workers: int) -> None:
        """Have at least so many workers; returns before they are up. Fewer would kill running requests."""
        self._call("PUT", f"/models/{model}/{version}", params={"min_worker": workers, "max_worker": workers,
                                                                "synchronous": "false"})

    def set_default(self, model: str, version: str) -> None:
        """Make requests without a version go to this one."""
        self._call("PUT", f"/models/{model}/{version}/set-default")

    def unregister(self, model: str, version: str | None = None) -> None:
        """Remove a version; running and queued requests of it are lost, so drain first. Gone already is fine."""
        try:
            self._call("DELETE", f"/models/{model}" + (f"/{version}" if version else ""))
        except ManagementError as error:
            if error.code != 404:
                raise

    def _call(self, method: str, path: str, **options: Any) -> Any:
        call = f"{method} {self._url}{path}"
        try:
            answer = self._session.request(method, self._url + path, timeout=self._timeout_s, **options)
            if not answer.ok:
                raise ManagementError(call, answer.status_code, answer.text.strip())
            return answer.json() if answer.content else None
        except requests.JSONDecodeError:
            got = answer.text.strip()[:80]
            raise ManagementError(call, answer.status_code, f"expected TorchServe's JSON, got {got!r}") from None
        except requests.RequestException as error:
            raise ManagementError(call, 0, str(error)) from error
