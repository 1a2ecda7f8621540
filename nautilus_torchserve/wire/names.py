"""Names of models and versions: they become names of files, parts of URLs and values of HTTP headers."""

import re
from typing import Annotated

import msgspec

from nautilus_torchserve.user_error import InvalidArgument

_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\Z"
_MODEL = re.compile(rf"(?!token){_NAME}")
"""``/token...`` is TorchServe's token API."""
_VERSION = re.compile(rf"(?!all\Z){_NAME}")
"""``/models/MODEL/all`` means every version to TorchServe."""

ModelName = Annotated[str, msgspec.Meta(pattern=rf"^{_MODEL.pattern}")]
"""Type of a model name in a state file."""
VersionName = Annotated[str, msgspec.Meta(pattern=rf"^{_VERSION.pattern}")]
"""Type of a version in a state file."""


class InvalidName(InvalidArgument):
    """A name that cannot be a model's or a version's."""


def is_model_name(text: object) -> bool:
    """Return whether this is the name of a model that can be served."""
    return isinstance(text, str) and _MODEL.match(text) is not None


def is_version(text: object) -> bool:
    """Return whether this is a version that a model can have."""
    return isinstance(text, str) and _VERSION.match(text) is not None


def check_model_name(text: str) -> str:
    """Return the name of a model unchanged.

    Raises
    ------
    InvalidName
        It would leave the folder or the URL that it becomes a part of, or has another meaning to TorchServe.
    """
    if not is_model_name(text):
        raise InvalidName(
            f"expected a model name of 1 to 100 ASCII letters, digits and _ . - that begins with none of "
            f'. - and not with "token", got {text!r:.200}'
        )
    return text


def check_version(text: str) -> str:
    """Return a version unchanged; raise as `check_model_name`."""
    if not is_version(text):
        raise InvalidName(
            f"expected a version of 1 to 100 ASCII letters, digits and _ . - that begins with none of "
            f'. - and is not "all", got {text!r:.200}'
        )
    return text
