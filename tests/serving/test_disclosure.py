"""What TorchServe's own answers disclose, as docs/security.md lists it: a Java class, and nothing of this host."""

import json
import re
import socket
from http.client import HTTPResponse

import pytest

from nautilus_torchserve.serving.server.torchserve import TorchServe
from support import PROJECT

PREDICT = "POST /predictions/tick HTTP/1.1"
MULTIPART = "Content-Type: multipart/form-data; boundary="
FORM = "Content-Type: application/x-www-form-urlencoded"
PART = "--B\r\nContent-Disposition: form-data{}\r\n\r\nx\r\n--B--\r\n"
INDEX, DECODER = "ArrayIndexOutOfBoundsException", "ErrorDataDecoderException"
DISCLOSING = re.compile(
    r"/(?:tmp|home|root|usr|opt|work)/|site-packages|Traceback|\bat [\w.$]+\(|\.java\b|\bio\.netty|org\.pytorch"
)


def exchange(
    server: TorchServe, line: str, header: str, content: str, port: str = "inference"
) -> tuple[int, bytes, list[str]]:
    """Return status, body and names of the headers of one raw request's answer."""
    url = server.inference_url if port == "inference" else server.management_url
    key = server.token if port == "inference" else server.management_token
    lines = [line, "Host: x", f"Authorization: Bearer {key}", *filter(None, [header])]
    if content:
        lines.append(f"Content-Length: {len(content)}")
    host, _, number = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(number)), timeout=30) as connection:
        connection.sendall("\r\n".join([*lines, "", content]).encode("latin-1"))
        response = HTTPResponse(connection)
        response.begin()
        return response.status, response.read(), [name.lower() for name in response.headers]


@pytest.mark.parametrize(
    ("line", "header", "content", "expected"),
    [
        ("OPTIONS * HTTP/1.1", "", "", (500, INDEX)),
        ("CONNECT x:80 HTTP/1.1", "", "", (500, INDEX)),
        ("POST /v2/models/:/infer HTTP/1.1", "", "", (500, INDEX)),
        (PREDICT, MULTIPART, "x", (500, "StringIndexOutOfBoundsException")),
        (PREDICT, f"{MULTIPART}B", PART.format(""), (500, DECODER)),
        (PREDICT, f"{MULTIPART}B", PART.format('; name=""'), (500, DECODER)),
        (PREDICT, f"{MULTIPART}B", PART.format("; name=x; filename*=bad'x'%zz"), (500, DECODER)),
        (PREDICT, FORM, "=", (500, DECODER)),
        (PREDICT, FORM, "body=%zz", (500, DECODER)),
        ("POST /predictions/%zz HTTP/1.1", "", "", (403, "IllegalArgumentException")),
        ("POST /nope HTTP/1.1", "", "", (404, "ResourceNotFoundException")),
        ("POST /predictions/nope HTTP/1.1", "", "", (404, "ModelNotFoundException")),
        ("GET / HTTP/1.1", "", "", (405, "MethodNotAllowedException")),
        (PREDICT, "no colon", "", (400, "BadRequestException")),
        (PREDICT, "Content-Length: x", "", (400, "BadRequestException")),
        (PREDICT, "Content-Length: 999999999", "", (413, "")),
        (PREDICT, "Expect: 200-ok", "", (417, "")),
    ],
)
def test_an_answer_of_torchserve_names_a_class_and_nothing_of_this_host(
    tick_server: TorchServe, line: str, header: str, content: str, expected: tuple[int, str]
) -> None:
    status, answer, names = exchange(tick_server, line, header, content)

    assert (status, json.loads(answer)["type"] if answer else "") == expected
    assert DISCLOSING.search(answer.decode()) is None
    assert "server" not in names


@pytest.mark.parametrize("query", ["url=nope.mar", "url=../../etc/passwd", "url=file:///etc/passwd", "url=%zz", ""])
def test_a_refused_registration_discloses_nothing_but_the_request(tick_server: TorchServe, query: str) -> None:
    status, answer, _ = exchange(tick_server, f"POST /models?{query} HTTP/1.1", "", "", "management")

    assert 400 <= status < 500
    assert DISCLOSING.search(answer.decode().replace("/etc/passwd", "")) is None


def test_registering_without_a_body_names_no_method_of_java(tick_server: TorchServe) -> None:
    status, answer, _ = exchange(
        tick_server, "POST /models HTTP/1.1", "Content-Type: application/json", "", "management"
    )

    assert (status, json.loads(answer)) == (500, {"code": 500, "type": "NullPointerException"})


def test_the_description_of_a_model_names_no_path(tick_server: TorchServe) -> None:
    status, answer, _ = exchange(tick_server, "GET /predictions/tick HTTP/1.1", "describe: True", "")

    assert status == 200
    assert str(PROJECT) not in answer.decode()
    assert DISCLOSING.search(answer.decode()) is None
