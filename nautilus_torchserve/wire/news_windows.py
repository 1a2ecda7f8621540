"""Windows of bars with the news about them, as the body of an ensemble's request: JSON alone.

``{"instances": [{"window": [[...], ...], "texts": [strings], "ages_s": [numbers]}, ...]}``, where ``texts`` may be
missing or empty, and ``ages_s`` (seconds since each text was received; default: all 0) has one a text. In
the Open Inference Protocol's form ``inputs`` are the tensors ``window`` (``[n, time, columns]``), and where there
is news ``texts`` (BYTES, window after window), ``text_counts`` (``[n]``) and optionally ``ages_s``.

======================================  =====================================================
``application/json``                    a list of strings, or ``{"instances": [strings]}``, or the
                                        Open Inference Protocol's ``{"inputs": [tensor of BYTES]}``
======================================  =====================================================
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from nautilus_torchserve.wire.body import (
    JSON,
    RowRequest,
    check_content,
    check_rows,
    excerpt,
    identifier,
    is_unicode,
    numbers,
    only,
    parse_json,
    tensor_numbers,
    tensors,
)
from nautilus_torchserve.wire.errors import (
    BadShape,
    BadText,
    BadType,
    BodyTooLarge,
    EmptyBody,
    MalformedBody,
    NotFinite,
    RequestError,
)

MAX_TEXTS = 1024
"""Most texts of one request."""
MAX_CHARACTERS = 250_000
"""Most characters of all texts of a request: a core takes a quarter of a minute for them."""


@dataclass(frozen=True)
class NewsWindow:
    """One window of bars and the recent news about its instrument."""

    window: NDArray[np.float32]
    """float32 [time, columns]."""
    texts: tuple[str, ...] = ()
    """Headlines; may be empty."""
    ages_s: tuple[float, ...] = ()
    """Seconds since each text was received; empty: all 0."""


@dataclass(frozen=True)
class NewsRequest:
    """A decoded request for windows of bars with news."""

    rows: NDArray[np.float32]
    """float32 [n, time, columns], finite, n >= 1."""
    texts: tuple[str, ...]
    """Of all windows, one after the other."""
    ages_s: NDArray[np.float64]
    """float64 [texts], at least 0."""
    counts: NDArray[np.int64]
    """int64 [n]: how many texts each window has."""
    open_inference: bool = False
    """Whether it came as an Open Inference Protocol body; its answer takes that form too."""
    request_id: str | None = None
    """The protocol's optional ``id``, returned with the answer."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def windows(self) -> RowRequest:
        """The windows alone, as the request of a price model."""
        return RowRequest(self.rows)


def decode_news(body: object, content_type: str | None, row_shape: tuple[int, ...]) -> NewsRequest:
    """Decode a request's body.

    Raises
    ------
    EmptyBody, MalformedBody, BadShape, BadType, BadText, NotFinite, BodyTooLarge, UnsupportedContentType
    """
    check_content(body, content_type, (JSON,), "windows and texts")
    parsed = parse_json(body) if isinstance(body, bytes | bytearray | str) else body
    if isinstance(parsed, list):
        return _from_instances(parsed, row_shape)
    if isinstance(parsed, dict) and "instances" in parsed:
        return _from_instances(parsed["instances"], row_shape)
    if isinstance(parsed, dict) and "inputs" in parsed:
        return _from_tensors(parsed, row_shape)
    got = f"an object with {excerpt(sorted(parsed))}" if isinstance(parsed, dict) else type(parsed).__name__
    raise MalformedBody(f'expected a list of windows with texts, {{"instances"}} or {{"inputs"}}, got {got}')


def check_news(windows: Sequence[NewsWindow], row_shape: tuple[int, ...]) -> NewsRequest:
    """Check windows that a caller holds as objects as if they had come over the wire."""
    return _from_instances([_as_instance(window) for window in windows], row_shape)


def encode_news(windows: Sequence[NewsWindow]) -> bytes:
    """Encode windows and texts as the body of an ``application/json`` request."""
    return orjson.dumps({"instances": [_as_instance(window) for window in windows]}, option=orjson.OPT_SERIALIZE_NUMPY)


def _as_instance(window: NewsWindow) -> dict[str, Any]:
    instance: dict[str, Any] = {"window": np.ascontiguousarray(window.window), "texts": list(window.texts)}
    if window.ages_s:
        instance["ages_s"] = list(window.ages_s)
    return instance


def _from_instances(instances: object, row_shape: tuple[int, ...]) -> NewsRequest:
    if not isinstance(instances, list):
        raise MalformedBody(f"expected a list of windows with texts, got {type(instances).__name__}")
    if not instances:
        raise EmptyBody("expected at least one window, got none")
    windows, counts = [], []
    texts: list[str] = []
    ages: list[float] = []
    for number, instance in enumerate(instances):
        try:
            window, window_texts, window_ages = _from_instance(instance, row_shape)
        except RequestError as error:
            raise type(error)(f"instance {number}: {error}") from error
        windows.append(window)
        texts += window_texts
        ages += window_ages
        counts.append(len(window_texts))
    return NewsRequest(np.stack(windows), check_texts(texts, 0), np.array(ages, np.float64), np.array(counts, np.int64))


def _from_instance(
    instance: object, row_shape: tuple[int, ...]
) -> tuple[NDArray[np.float32], tuple[str, ...], list[float]]:
    if not isinstance(instance, dict) or "window" not in instance:
        raise MalformedBody('expected an object with "window", and "texts" where there is news')
    unknown = sorted(set(instance) - {"window", "texts", "ages_s"})
    if unknown:
        raise MalformedBody(f'expected "window", "texts" and "ages_s", got also {excerpt(unknown)}')
    (window,) = check_rows(numbers(instance["window"])[np.newaxis], row_shape)
    texts = check_texts(instance.get("texts", []), 0)
    return window, texts, _check_ages(instance.get("ages_s"), len(texts))


def _check_ages(ages: object, count: int) -> list[float]:
    if ages is None:
        return [0.0] * count
    if not isinstance(ages, list | tuple) or len(ages) != count:
        raise BadShape(f'expected "ages_s" with one number a text, {count} in all, got {excerpt(ages)}')
    for age in ages:
        if not isinstance(age, int | float) or isinstance(age, bool):
            raise BadType(f'expected "ages_s" of numbers, got {type(age).__name__}')
        if not 0 <= age <= sys.float_info.max:  # NaN too, and integers beyond any float
            raise NotFinite(f'expected "ages_s" of at least 0, and finite, got {excerpt(age)}')
    return [float(age) for age in ages]


def _from_tensors(body: dict[str, Any], row_shape: tuple[int, ...]) -> NewsRequest:
    inputs = tensors(body["inputs"])
    named = {tensor["name"]: tensor for tensor in inputs}
    unknown = set(named) - {"window", "texts", "text_counts", "ages_s"}
    twice = len(named) < len(inputs)
    if unknown or twice or "window" not in named or ("texts" in named) != ("text_counts" in named):
        raise MalformedBody(
            'expected tensors "window", and "texts" with "text_counts" where there is news, and "ages_s", '
            f"got {excerpt(sorted(str(tensor['name']) for tensor in inputs))}"
        )
    rows = check_rows(tensor_numbers(named["window"], row_shape), row_shape)
    counts = np.zeros(len(rows), np.int64)
    texts: tuple[str, ...] = ()
    if "texts" in named:
        texts = tensor_texts(named["texts"], 0)
        counted = tensor_numbers(named["text_counts"], ())
        whole = counted.shape == (len(rows),) and counted.dtype.kind == "i"
        # each at most all of them, or their sum may overflow
        if not whole or counted.min() < 0 or counted.max() > len(texts) or counted.sum() != len(texts):
            raise BadShape(
                f'expected "text_counts" with one whole number a window, {len(rows)} that add up to {len(texts)}, '
                f"got {excerpt(counted.tolist())}"
            )
        counts = counted.astype(np.int64)
    ages = _check_ages(tensor_numbers(named["ages_s"], ()).tolist() if "ages_s" in named else None, len(texts))
    return NewsRequest(rows, texts, np.array(ages, np.float64), counts, True, identifier(body))


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
