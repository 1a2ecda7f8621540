"""Texts as the body of a request: JSON alone.

======================================  =====================================================
``application/json``                    a list of strings, or ``{"instances": [strings]}``, or the
                                        Open Inference Protocol's ``{"inputs": [tensor of BYTES]}``
======================================  =====================================================
"""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from nautilus_torchserve.wire.body import (
    JSON,
    check_content,
    excerpt,
    identifier,
    is_unicode,
    only,
    parse_json,
    tensors,
)
from nautilus_torchserve.wire.errors import BadShape, BadText, BadType, BodyTooLarge, EmptyBody, MalformedBody

MAX_TEXTS = 1024
"""Most texts of one request."""
MAX_CHARACTERS = 250_000
"""Most characters of all texts of a request: a core takes a quarter of a minute for them."""


@dataclass(frozen=True)
class TextRequest:
    """A decoded request for texts."""

    texts: tuple[str, ...]
    """n >= 1, each with a printable character."""
    open_inference: bool = False
    """Whether it came as an Open Inference Protocol body; its answer takes that form too."""
    request_id: str | None = None
    """The protocol's optional ``id``, returned with the answer."""

    def __len__(self) -> int:
        return len(self.texts)


def decode_texts(body: object, content_type: str | None) -> TextRequest:
    """Decode a request's body.

    Parameters
    ----------
    body : bytes, bytearray, str, or parsed JSON
    content_type : str or None
        The header as sent; parameters are ignored.

    Raises
    ------
    EmptyBody, MalformedBody, BadShape, BadType, BadText, BodyTooLarge, UnsupportedContentType
    """
    check_content(body, content_type, (JSON,), "texts")
    parsed = parse_json(body) if isinstance(body, bytes | bytearray | str) else body
    if isinstance(parsed, list):
        return TextRequest(check_texts(parsed))
    if isinstance(parsed, dict) and "instances" in parsed:
        return TextRequest(check_texts(parsed["instances"]))
    if isinstance(parsed, dict) and "inputs" in parsed:
        return TextRequest(tensor_texts(only(tensors(parsed["inputs"]))), True, identifier(parsed))
    got = f"an object with {excerpt(sorted(parsed))}" if isinstance(parsed, dict) else type(parsed).__name__
    raise MalformedBody(f'expected a list of strings, {{"instances"}} or {{"inputs"}}, got {got}')


def encode_texts(texts: Sequence[str]) -> bytes:
    """Encode texts as the body of an ``application/json`` request."""
    return orjson.dumps({"instances": list(texts)})


def tensor_texts(tensor: dict[str, object], at_least: int = 1) -> tuple[str, ...]:
    """Return the strings of a tensor of ``BYTES``, [n] or [n, 1]; raise as `check_texts`, and `BadShape`."""
    if tensor["datatype"] != "BYTES":
        raise BadType(f"expected datatype BYTES for texts, got {excerpt(tensor['datatype'])}")
    data, shape = tensor["data"], tensor["shape"]
    if isinstance(data, list) and all(isinstance(row, list) and len(row) == 1 for row in data):
        data = [text for (text,) in data]
    texts = check_texts(data, at_least)
    if shape != [len(texts)] and shape != [len(texts), 1]:
        raise BadShape(f"expected shape [{len(texts)}] for {len(texts)} texts, got {excerpt(shape)}")
    return texts


def check_texts(texts: object, at_least: int = 1) -> tuple[str, ...]:
    """Return a list of strings as a tuple; raise an error with the place of the first that cannot be read.

    Raises
    ------
    EmptyBody
        Fewer than ``at_least``.
    BadType, BadText, BodyTooLarge
    """
    if not isinstance(texts, list | tuple):
        raise BadType(f"expected a list of strings, got {type(texts).__name__}")
    if len(texts) < at_least:
        raise EmptyBody("expected at least one text, got none")
    if len(texts) > MAX_TEXTS:
        raise BodyTooLarge(f"expected at most {MAX_TEXTS:,} texts in a request, got {len(texts):,}")
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise BadType(f"expected strings, got {type(text).__name__} {excerpt(text)!r} as text {number}")
    check_characters(texts, MAX_CHARACTERS)
    for number, text in enumerate(texts):
        if not is_unicode(text):  # half of a character, which no UTF-8 can hold
            raise BadText(f"expected Unicode text, got a lone surrogate in text {number}")
        if not any(letter > " " and letter.isprintable() for letter in text):  # a character may have no width
            raise BadText(f"expected something to read, got {text[:10]!r} as text {number}")
    return tuple(texts)


def check_characters(texts: Sequence[str], limit: int) -> None:
    """Raise `BodyTooLarge` where texts have more characters together than a request may hold."""
    characters = sum(map(len, texts))
    if characters > limit:
        raise BodyTooLarge(f"expected at most {limit:,} characters in a request, got {characters:,}")
