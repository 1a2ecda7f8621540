"""The token of a live run whose file names none."""

from pathlib import Path

import msgspec
import pytest

from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.serving.tokens import KEY_FILE
from nautilus_torchserve.trading import server_token
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.live.components import fetch_metadata, live_table, with_own_server
from nautilus_torchserve.trading.live.settings import LiveSettings


def settings(url: object, live: object = None) -> LiveSettings:
    actor = {"url": url, "instrument_id": "SIMUSD.SIM", **({} if live is None else {"live": live})}
    return msgspec.convert(
        {
            "market": {"kind": "replay", "simulate": 10},
            "execution": {"kind": "sandbox", "balance": "1 USD"},
            "model": {"kind": "tick", "actor": actor},
            "strategy": {},
            "risk": {},
        },
        LiveSettings,
    )


@pytest.fixture
def own_server(tick_server: TorchServe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TorchServe:
    """The session's server as the one that scripts/serve.py has started."""
    (tmp_path / ".server").symlink_to(tick_server.home)
    monkeypatch.setattr(server_token, "WORKSPACE", tmp_path)
    monkeypatch.delenv("TORCHSERVE_TOKEN", raising=False)
    return tick_server


def test_the_own_server_is_followed_by_its_key_file(own_server: TorchServe) -> None:
    followed = with_own_server(settings(own_server.inference_url))

    live = live_table(followed)
    assert Path(live["token_file"]).samefile(own_server.home / KEY_FILE)
    assert live["renew_url"] == own_server.management_url
    assert fetch_metadata(followed).version == "1.0"


def test_a_token_that_settings_or_environment_name_is_kept(
    own_server: TorchServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = settings(own_server.inference_url, {"token_file": "elsewhere"})
    other = settings("http://127.0.0.1:9")
    assert with_own_server(named) is named
    assert with_own_server(other) is other  # a token is sent to no other server

    monkeypatch.setenv("TORCHSERVE_TOKEN", "fixed")
    fixed = settings(own_server.inference_url)
    assert with_own_server(fixed) is fixed


@pytest.mark.parametrize(
    ("url", "live", "message"),
    [
        (5, {}, "expected model.actor.url as a text, got 5"),
        ("http://a", 5, "expected model.actor.live as a table, got 5"),
        ("http://a", {"nothing": 1}, "model.actor.live.nothing: expected a field of DispatcherConfig"),
    ],
)
def test_settings_of_other_types_are_refused(url: object, live: object, message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        fetch_metadata(with_own_server(settings(url, live)))
