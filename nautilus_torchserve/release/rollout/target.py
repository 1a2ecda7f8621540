"""The server that versions are rolled out to, and how it is reached."""

import os
from dataclasses import dataclass
from pathlib import Path

from nautilus_torchserve.serving.client.client import InferenceClient, connect
from nautilus_torchserve.serving.server.management import ManagementClient
from nautilus_torchserve.serving.server.properties import BadProperties, read_properties
from nautilus_torchserve.serving.server.torchserve import CONFIG, RENEW_BEFORE_NS, find_server
from nautilus_torchserve.serving.token_source import TokenSource
from nautilus_torchserve.serving.tokens import Token
from nautilus_torchserve.user_error import UserError


class NoTarget(UserError):
    """There is no such server, or options that are needed to reach it are missing."""


@dataclass(frozen=True)
class Target:
    """One TorchServe. The holder of its management token can run code there."""

    management_url: str
    """``http://127.0.0.1:8081``."""
    inference_url: str
    """``http://127.0.0.1:8080``."""
    model_store: Path
    """The server's folder of archives, as it is reached from here: local or mounted."""
    management_token: Token = None
    """None where tokens are off; a `TokenSource` is read again and renewed, a string is used until it expires."""
    inference_token: Token = None
    """Likewise, for predictions."""
    metrics_url: str | None = None
    """``http://127.0.0.1:8082``; None: the server's error counters are not observed."""
    config: Path | None = None
    """The ``config.properties`` that the server is started from: its ``model_snapshot`` follows every change, so
    that a restart restores versions, default and workers. None: a restart loses what was registered."""

    def manager(self) -> ManagementClient:
        """Return a client of the management port."""
        return ManagementClient(self.management_url, self.management_token)

    def connect(self, model: str, version: str | None = None, timeout_s: float = 5.0) -> InferenceClient:
        """Return a client of the inference port; raises as `serving.client.client.connect`."""
        return connect(self.inference_url, model, version, token=self.inference_token, timeout_s=timeout_s)


def local_target(home: Path) -> Target:
    """Return the server that ``nautilus-torchserve serve`` started in this home.

    Raises
    ------
    NoTarget
        No server runs there.
    """
    server = find_server(home)
    if server is None:
        raise NoTarget(f"{home}: expected a running server, got none (nautilus-torchserve serve start)")
    return Target(
        server.management_url,
        server.inference_url,
        server.model_store,
        server.token_source("management"),
        server.token_source("inference"),
        server.metrics_url,
        home / CONFIG,
    )


def named_target(
    home: Path,
    management_url: str | None = None,
    inference_url: str | None = None,
    model_store: Path | None = None,
    metrics_url: str | None = None,
    config: Path | None = None,
    token_file: Path | None = None,
) -> Target:
    """Return the server that a command's options name: by its URLs, else the one in ``home``.

    Tokens of a server named by its URLs are read from ``token_file`` and renewed with its API key, else from the
    environment: TORCHSERVE_MANAGEMENT_TOKEN and TORCHSERVE_TOKEN, unset where tokens are off.

    Raises
    ------
    NoTarget
        Only some of the URLs are given, the configuration cannot be read, or no server runs in ``home``.
    """
    if management_url is None and inference_url is None and model_store is None:
        if token_file is not None:
            raise NoTarget(
                "--token-file: expected with --management-url, got it without: the key file of a server in --home is "
                "found there"
            )
        return local_target(home)
    if management_url is None or inference_url is None or model_store is None:
        raise NoTarget("expected all of --management-url, --inference-url and --model-store, or none, got some")
    if config is not None:  # before anything changes: every change of a version is written into it
        try:
            read_properties(config)
        except (BadProperties, OSError) as error:
            raise NoTarget(str(error)) from error
    return Target(
        management_url.rstrip("/"),
        inference_url.rstrip("/"),
        model_store,
        *_tokens(token_file, management_url),
        metrics_url,
        config,
    )


def _tokens(token_file: Path | None, management_url: str) -> tuple[Token, Token]:
    """Return the tokens for management and for predictions."""
    if token_file is None:
        return os.environ.get("TORCHSERVE_MANAGEMENT_TOKEN"), os.environ.get("TORCHSERVE_TOKEN")
    return (
        TokenSource(token_file, management_url, RENEW_BEFORE_NS, "management"),
        TokenSource(token_file, management_url, RENEW_BEFORE_NS, "inference"),
    )
