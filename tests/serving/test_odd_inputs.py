"""URLs, tokens and key files of any content are refused by errors that a command shows in one line."""

import json

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.release.rollout.workers import read_counters
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.serving.http_session import HttpSession
from nautilus_torchserve.serving.server.management import ManagementClient
from nautilus_torchserve.serving.tokens import NoToken, read_key
from nautilus_torchserve.user_error import UserError

URLS = [
    "http://" + "a" * 5000,
    "http://a..b",
    "http://é中:1/",
    "http://[b/",
    "http://127.0.0.1:99999",
    "http://",
    "x",
    "http://127.0.0.1:1/\udcff",
    "http:///x",
]


@pytest.mark.parametrize("url", URLS, ids=ascii)
def test_an_unusable_url_is_a_users_error(url: str) -> None:
    with pytest.raises(UserError):
        connect(url, "tick")
    with pytest.raises(UserError):
        ManagementClient(url).model_names()
    with pytest.raises(UserError):
        read_counters(url)


@pytest.mark.parametrize("token", ["é", "a\nb", "中"])
def test_a_token_that_no_header_can_hold_is_a_users_error(token: str) -> None:
    with pytest.raises(UserError, match="token"):
        connect("http://127.0.0.1:1", "tick", token=token)
    with HttpSession() as session, pytest.raises(requests.RequestException):
        session.get("http://127.0.0.1:1", headers={"Authorization": f"Bearer {token}"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["inference", "key", "expiration time", "x"]), inner, max_size=3)
    ),
)


@given(JSON.map(json.dumps).map(str.encode) | st.binary(max_size=20))
def test_a_key_file_gives_a_token_or_names_itself(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "key_file.json"
    path.write_bytes(content)
    try:
        token = read_key(path, "inference").token
    except NoToken as error:
        token = f"{error}".removeprefix(f"{path}: ")
        assert token != f"{error}"  # noqa: PT017
    assert token
