"""The error table: every error comes back from its answer as itself."""

import pytest

from nautilus_torchserve.wire import errors


@pytest.mark.parametrize("name", sorted(errors.BY_NAME))
def test_error_survives_the_wire(name: str) -> None:
    sent = errors.BY_NAME[name]("expected rows of shape [n, 4], got [3]")

    received = errors.error_from_response(sent.code, sent.body())

    assert type(received) is type(sent)
    assert str(received) == str(sent)
    assert sent.reason


@pytest.mark.parametrize(
    ("code", "answer", "kind"),
    [
        (404, b'{"code":404,"type":"ModelNotFoundException","message":"Model not found: x"}', errors.UnknownModel),
        (400, b'{"code":400,"message":"Token Authorization failed."}', errors.Unauthorized),
        (413, b"", errors.BodyTooLarge),
        (503, b'{"code":503,"message":"has no worker"}', errors.Unavailable),
        (500, b"[1]", errors.ServerFault),
        (502, b"<html>", errors.ServerFault),
    ],
)
def test_torchserves_own_answers_are_understood(code: int, answer: bytes, kind: type[errors.RequestError]) -> None:
    assert type(errors.error_from_response(code, answer)) is kind
