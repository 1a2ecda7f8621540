"""Options that name the server, shared by all commands that need one."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from nautilus_torchserve.bundle import BUNDLE
from nautilus_torchserve.release.rollout.target import Target, named_target

FindTarget = Callable[[], Target]
"""Finds the server that the options name; raises `NoTarget` or `NoToken`."""
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "home": (
        Annotated[Path, typer.Option(help="Home of a server that scripts/serve.py started.")],
        BUNDLE / ".server",
    ),
    "management_url": (
        Annotated[str | None, typer.Option(help="Of another server; its token in TORCHSERVE_MANAGEMENT_TOKEN.")],
        None,
    ),
    "inference_url": (Annotated[str | None, typer.Option(help="The same; its token in TORCHSERVE_TOKEN.")], None),
    "model_store": (
        Annotated[Path | None, typer.Option(help="The same: its folder of archives, as it is reached from here.")],
        None,
    ),
    "metrics_url": (
        Annotated[str | None, typer.Option(help="The same; without it error counters are not watched.")],
        None,
    ),
    "token_file": (
        Annotated[
            Path | None,
            typer.Option(
                help="The same: its key_file.json, whose tokens are followed and renewed; default: "
                "TORCHSERVE_MANAGEMENT_TOKEN and TORCHSERVE_TOKEN, which are not."
            ),
        ],
        None,
    ),
    "config": (
        Annotated[
            Path | None,
            typer.Option(
                help="The same: its config.properties, kept such that a restart brings versions and default back."
            ),
        ],
        None,
    ),
}


def takes_server(command: Callable[..., None]) -> Callable[..., None]:
    """Return a typer command with these options in the place of its parameter ``server``: a `FindTarget`.

    For commands that do not always need the server, or find it repeatedly: a restart changes its tokens and ports.
    """
    own = [parameter for parameter in inspect.signature(command).parameters.values() if parameter.name != "server"]

    @functools.wraps(command)
    def with_options(**given: Any) -> None:
        options = {name: given.pop(name) for name in _OPTIONS}
        command(server=functools.partial(named_target, **options), **given)

    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
        for name, (annotation, default) in _OPTIONS.items()
    ]
    keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    with_options.__signature__ = inspect.Signature([*keyword, *added])  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in [*keyword, *added]}
    return with_options


def takes_target(command: Callable[..., None]) -> Callable[..., None]:
    """Return the same with the server itself, as parameter ``target``; exit status 1 where there is none."""

    def with_target(server: FindTarget, **given: Any) -> None:
        command(target=server(), **given)

    own = [parameter for parameter in inspect.signature(command).parameters.values() if parameter.name != "target"]
    with_target.__name__, with_target.__doc__ = command.__name__, command.__doc__
    with_target.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
    return takes_server(with_target)
