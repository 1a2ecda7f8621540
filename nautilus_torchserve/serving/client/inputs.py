"""Inputs of a model, and their encoding on the wire."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.wire import body
from nautilus_torchserve.wire.errors import BadType
from nautilus_torchserve.wire.news_windows import NewsWindow, check_news, encode_news
from nautilus_torchserve.wire.texts import check_texts, encode_texts

Inputs = NDArray[np.float32] | Sequence[str] | Sequence[NewsWindow]
"""Rows of numbers, texts, or windows of bars with the news about them."""


def check_inputs(inputs: Inputs, kind: str, row_shape: tuple[int, ...]) -> Inputs:
    """Return inputs that a model of this kind takes, an array as float32.

    Raises
    ------
    BadType
        They are of another kind.
    RequestError
        The server would refuse them, with the same error.
    """
    if isinstance(inputs, np.ndarray):
        _expect(kind, "rows", "an array")
        return body.check_rows(inputs, row_shape)
    if isinstance(inputs, str) or not isinstance(inputs, Sequence):
        raise BadType(f"expected {kind}, which the model takes, got {type(inputs).__name__}")
    if kind == "windows and texts":
        windows = [window for window in inputs if isinstance(window, NewsWindow)]
        others = [value for value in inputs if not isinstance(value, NewsWindow)]
        if others:
            raise BadType(f"expected {kind}, which the model takes, got a list with {type(others[0]).__name__}")
        check_news(windows, row_shape)
        return windows
    _expect(kind, "texts", "a list")
    return check_texts(inputs)


def encode_inputs(inputs: Inputs, kind: str, row_shape: tuple[int, ...]) -> tuple[bytes, str]:
    """Return a request's body and its content type; raises as `check_inputs`."""
    checked = check_inputs(inputs, kind, row_shape)
    if isinstance(checked, np.ndarray):
        return body.encode_rows(checked), body.BINARY
    if kind == "texts":
        return encode_texts([str(text) for text in checked]), body.JSON
    return encode_news([window for window in checked if isinstance(window, NewsWindow)]), body.JSON


def _expect(kind: str, given: str, got: str) -> None:
    if kind != given:
        raise BadType(f"expected {kind}, which the model takes, got {got}")
