"""One table maps schemes of URLs to transports; no other code looks at a scheme."""

import re

import pytest

from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.serving.client.transports import TRANSPORTS, is_server_url, is_url
from nautilus_torchserve.user_error import InvalidArgument
from support import PROJECT

PARSED = re.compile(r"""(startswith|removeprefix)\(\(?["'](http|mar)|\.scheme\b(?!}://)|==\s*["'](https?|mar):?["']""")
"""Code that looks at a URL's scheme."""
EXEMPT = {"client/transports.py", "client/in_process.py", "server/config.py"}
"""The table, the client that reads the options of its own URLs, and addresses that TorchServe listens on."""


@pytest.mark.parametrize("url", ["ftp://host", "localhost:8080", "marble", "", "HTTP//x"])
def test_a_url_without_a_transport_is_refused_with_the_known_prefixes(url: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"expected a url beginning with http://, https:// or mar:, got '{url}'"):
        connect(url, "tick")
    assert not is_url(url)


def test_urls_of_servers_and_of_archives_are_distinguished() -> None:
    assert {transport.prefix: is_server_url(f"{transport.prefix}x") for transport in TRANSPORTS} == {
        "http://": True,
        "https://": True,
        "mar:": False,
    }


def test_no_other_module_parses_a_scheme() -> None:
    files = [
        path for part in ("nautilus_torchserve", "benchmarks", "scripts") for path in (PROJECT / part).rglob("*.py")
    ]
    outputs = [
        f"{path.relative_to(PROJECT)}:{number}"
        for path in files
        if not path.as_posix().endswith(tuple(EXEMPT))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if PARSED.search(line)
    ]
    assert outputs == []
