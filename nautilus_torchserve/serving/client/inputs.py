"""What models are asked, as it is sent to them."""

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
    """Inputs that a model of this kind can be asked, an array as float32.

    Raises
    ------
    BadType
        Of another kind.
    RequestError
        As the server would refuse them.
    """
    if isinstance(inputs, np.ndarray):
        _expect(kind, "rows", "an array")
        return body.check_rows(inputs, row_shape)
    if isinstance(inputs, str) or not isinstance(inputs, Sequence):
        raise BadType(f"{kind} expected by the model, was {type(inputs).__name__}")
    if kind == "windows and texts":
        windows = [each for each in inputs if isinstance(each, NewsWindow)]
        strangers = [each for each in inputs if not isinstance(each, NewsWindow)]
        if strangers:
            raise BadType(f"{kind} expected by the model, was a list with {type(strangers[0]).__name__}")
        check_news(windows, row_shape)
        return windows
    _expect(kind, "texts", "a list")
    return check_texts(inputs)


def encode_inputs(inputs: Inputs, kind: str, row_shape: tuple[int, ...]) -> tuple[bytes, str]:
    """A request's body and its content type; raises what `check_inputs` does."""
    checked = check_inputs(inputs, kind, row_shape)
    if isinstance(checked, np.ndarray):
        return body.encode_rows(checked), body.BINARY
    if kind == "texts":
        return encode_texts([str(text) for text in checked]), body.JSON
    return encode_news([window for window in checked if isinstance(window, NewsWindow)]), body.JSON


def _expect(kind: str, needed: str, was: str) -> None:
    if kind != needed:
        raise BadType(f"{kind} expected by the model, was {was}")
