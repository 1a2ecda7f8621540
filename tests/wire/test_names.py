"""Names of models and versions."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.wire.names import InvalidName, ModelName, VersionName, check_model_name, check_version

GOOD = ("tick", "tick-many", "news_v2", "A.b-c_d", "_x", "0", "a..b", "x" * 100, "all-weather", "mytoken")
BAD = (
    "",
    ".",
    "..",
    "../x",
    "../../../x",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "a\0b",
    "a b",
    " a",
    "a\n",
    "-a",
    ".a",
    "%2e%2e",
    "tick?x",
    "tick#",
    "ti:ck",
    "tïck",
    "tick\u200b",
    "\uff11",
    "x" * 101,
    "\ud800",
    "a,b",
    "a=b",
    "{}",
    "*",
)


@pytest.mark.parametrize("name", GOOD)
def test_plain_names_pass(name: str) -> None:
    assert check_model_name(name) == check_version(name) == name


@pytest.mark.parametrize("name", [*BAD, "token", "tokenizer", "token-x"])
def test_other_model_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidName, match="expected a model name") as refused:
        check_model_name(name)

    assert refused.value.exit_code == 2
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("name", [*BAD, "all"])
def test_other_versions_are_refused(name: str) -> None:
    with pytest.raises(InvalidName, match="expected a version"):
        check_version(name)


@given(st.one_of(st.text(max_size=110), st.sampled_from(GOOD + BAD[:-6]), st.from_regex("[A-Za-z0-9_.-]{0,110}\n?")))
def test_state_files_take_the_same_names(text: str) -> None:
    for check, kind in ((check_model_name, ModelName), (check_version, VersionName)):
        try:
            check(text)
            good = True
        except InvalidName:
            good = False
        try:
            msgspec.json.decode(msgspec.json.encode(text), type=kind)
            taken = True
        except (msgspec.ValidationError, UnicodeEncodeError):
            taken = False
        assert good == taken
