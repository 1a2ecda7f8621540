"""Tokens that end, are renewed by others or come from a stale key file, against a real server."""

import json
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from nautilus_torchserve.release.rollout.target import NoTarget, Target, named_target
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.serving.http_session import HttpSession
from nautilus_torchserve.serving.server.management import ManagementClient, TokenRefused
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.serving.token_source import TokenSource
from nautilus_torchserve.serving.tokens import KEY_FILE, NoToken, read_key
from nautilus_torchserve.wire.errors import Unauthorized
from support import PROJECT, script_app

STALE = "AAAAAAAA"
"""A token that no server issued."""


def renew(server: TorchServe, purpose: str) -> None:
    """Renew the token as another command does; the token before is refused from now on."""
    url = f"{server.management_url}/token?type={purpose}"
    with HttpSession() as session:
        api_key = read_key(server.home / KEY_FILE, "API").token
        status, _ = session.fetch("GET", url, 10.0, headers={"Authorization": f"Bearer {api_key}"})
    assert status == 200


def make_stale(key_file: Path) -> None:
    """Leave the server with tokens that its key file does not have, as after a renewal that another home got."""
    entries = json.loads(key_file.read_text())
    for purpose in ("management", "inference"):
        entries[purpose]["key"] = STALE
    key_file.write_text(json.dumps(entries))


@pytest.fixture
def server(tick_server: TorchServe) -> Iterator[TorchServe]:
    """The session's server, whose key file is right again afterwards."""
    yield tick_server
    for purpose in ("management", "inference"):
        renew(tick_server, purpose)


def test_a_renewal_by_another_command_costs_no_call(server: TorchServe) -> None:
    manager = server.management()
    assert "tick" in manager.model_names()

    for _ in range(3):
        renew(server, "management")
        assert "tick" in manager.model_names()


def test_a_stale_management_token_is_renewed(server: TorchServe) -> None:
    manager = server.management()
    assert "tick" in manager.model_names()
    make_stale(server.home / KEY_FILE)

    assert "tick" in manager.model_names()
    assert read_key(server.home / KEY_FILE, "management").token != STALE
    assert "tick" in server.management().model_names()


def test_clients_that_are_refused_at_once_all_succeed(server: TorchServe) -> None:
    clients = [server.management() for _ in range(12)]
    make_stale(server.home / KEY_FILE)
    together = threading.Barrier(len(clients))

    def call(manager: ManagementClient) -> list[str]:
        together.wait()
        return manager.model_names()

    with ThreadPoolExecutor(len(clients)) as pool:
        responses = list(pool.map(call, clients))

    assert all("tick" in names for names in responses)


def test_predictions_of_a_rollout_follow_the_token(server: TorchServe, rows: np.ndarray) -> None:
    key_file = server.home / KEY_FILE
    target = named_target(PROJECT, server.management_url, server.inference_url, server.model_store, token_file=key_file)
    with target.connect("tick") as client:
        expected = client.predict(rows).outputs["buy"]
        renew(server, "inference")
        renewed = client.predict(rows).outputs["buy"]
        make_stale(key_file)
        replaced = client.predict(rows).outputs["buy"]

    assert np.array_equal(expected, renewed)
    assert np.array_equal(expected, replaced)


def test_a_fixed_token_that_is_refused_names_the_remedy(server: TorchServe) -> None:
    with pytest.raises(TokenRefused, match=r"a fixed token ends .* pass the server's key file"):
        ManagementClient(server.management_url, STALE).model_names()
    with pytest.raises(TokenRefused, match="no token was sent: pass the server's key file"):
        ManagementClient(server.management_url).model_names()
    with pytest.raises(Unauthorized, match=r"a fixed token ends .* pass the server's key file"):
        connect(server.inference_url, "tick", token=STALE)


def test_the_key_file_of_another_server_is_named(server: TorchServe, tmp_path: Path) -> None:
    key_file = tmp_path / KEY_FILE
    shutil.copyfile(server.home / KEY_FILE, key_file)
    entries = json.loads(key_file.read_text())
    entries["management"]["key"] = entries["API"]["key"] = STALE
    key_file.write_text(json.dumps(entries))
    manager = ManagementClient(
        server.management_url, TokenSource(key_file, server.management_url, purpose="management")
    )

    with pytest.raises(TokenRefused, match=f"no other token: .* cannot be renewed .*is {key_file} the key file of"):
        manager.model_names()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"management": 7}', "\0"])
def test_a_damaged_key_file_does_not_end_a_command_whose_token_holds(
    server: TorchServe, tmp_path: Path, content: str
) -> None:
    key_file = tmp_path / KEY_FILE
    shutil.copyfile(server.home / KEY_FILE, key_file)
    manager = ManagementClient(
        server.management_url, TokenSource(key_file, server.management_url, purpose="management")
    )
    assert "tick" in manager.model_names()

    key_file.write_text(content)
    assert "tick" in manager.model_names()
    renew(server, "management")
    with pytest.raises(TokenRefused, match=f"no other token: {key_file}"):
        manager.model_names()
    shutil.copyfile(server.home / KEY_FILE, key_file)

    assert "tick" in manager.model_names()


def test_two_processes_do_not_renew_each_others_token_without_end(server: TorchServe) -> None:
    a_year_ns = 365 * 86_400 * 10**9  # longer than the server's tokens last, as 5 minutes are where they last one
    key_file = server.home / KEY_FILE
    sources = [TokenSource(key_file, server.management_url, a_year_ns, "management") for _ in range(2)]
    issued = {read_key(key_file, "management").token}

    for _ in range(20):
        for source in sources:
            source.refresh()
            issued.add(read_key(key_file, "management").token)

    assert 2 <= len(issued) <= 3


def test_commands_renew_the_token_of_their_home(server: TorchServe) -> None:
    make_stale(server.home / KEY_FILE)
    command = ["status", "tick", "--home", f"{server.home}", "--json"]

    result = CliRunner().invoke(script_app(PROJECT / "scripts/rollout.py"), command)

    assert result.exit_code == 0, result.stderr
    assert "1.0" in result.stdout


def test_a_key_file_that_is_being_written_is_read_whole(tmp_path: Path) -> None:
    key_file = tmp_path / KEY_FILE
    text = json.dumps({"inference": {"key": "x" * 2000}})
    key_file.write_text(text)
    ended = threading.Event()

    def write_in_place() -> None:
        while not ended.is_set():
            with key_file.open("w") as file:
                file.write(text[:1000])
                file.flush()
                file.write(text[1000:])
            ended.wait(0.001)

    writer = threading.Thread(target=write_in_place)
    writer.start()
    try:
        for _ in range(300):
            assert read_key(key_file, "inference").token == "x" * 2000
    finally:
        ended.set()
        writer.join()


def test_a_token_file_without_urls_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoTarget, match="--token-file: expected with --management-url, got it without"):
        named_target(tmp_path, token_file=tmp_path / KEY_FILE)


def test_a_missing_token_file_is_named(server: TorchServe, tmp_path: Path) -> None:
    target: Target = named_target(
        tmp_path, server.management_url, server.inference_url, tmp_path, token_file=tmp_path / KEY_FILE
    )
    with pytest.raises(TokenRefused, match=r"no other token: .*key_file\.json: expected .* got none"):
        target.manager().model_names()
    with pytest.raises(NoToken, match="got none"):
        TokenSource(tmp_path / KEY_FILE).refresh()
