"""The price models that can be trained: their names, where they are, what may be tuned."""

from dataclasses import asdict, fields
from importlib import import_module
from typing import Any

from nautilus_torchserve.user_error import InvalidArgument

NETWORKS = {
    "price_lstm": ("model_defs.price_lstm", "PriceLSTMConfig"),
    "residual": ("model_defs.residual_price_lstm", "ResidualPriceLSTMConfig"),
    "cnn": ("model_defs.cnn_lstm", "CnnLSTMConfig"),
    "patchtst": ("model_defs.patch_tst", "PatchEncoderConfig"),
}
"""What ``--model`` may say -> the module whose ``build`` makes it, and that module's config."""
WITH_INDICATORS = frozenset({"cnn"})
"""Those whose windows have indicator columns unless told otherwise."""
SEARCH: dict[str, dict[str, tuple[Any, ...]]] = {
    "price_lstm": {"hidden": (32, 64, 128), "layers": (1, 2), "dropout": (0.0, 0.1, 0.3), "cell": ("lstm", "gru")},
    "residual": {"hidden": (64, 128, 256), "layers": (2, 3), "heads": (4, 8), "dropout": (0.0, 0.1, 0.3)},
    "cnn": {"channels": (32, 64), "kernel": (3, 5), "hidden": (32, 64, 128), "dropout": (0.0, 0.1, 0.3)},
    "patchtst": {"patch": (4, 8, 12), "hidden": (32, 64), "layers": (2, 3), "dropout": (0.1, 0.2, 0.4)},
}
"""Values that tuning chooses from."""


def config_class(network: str) -> Any:
    """A network's frozen config; its module is imported only now (transformers takes seconds).

    Raises
    ------
    InvalidArgument
        There is no such network.
    """
    if network not in NETWORKS:
        raise InvalidArgument(f"model {', '.join(NETWORKS)} expected, was {network!r}")
    module, name = NETWORKS[network]
    return getattr(import_module(module), name)


def describe_network(network: str, inputs: int, config: dict[str, Any]) -> dict[str, Any]:
    """``model.json``'s ``network``: which module builds it, and its whole config.

    Parameters
    ----------
    inputs : int
        Columns of a window.
    config : dict
        Fields that differ from their defaults.

    Raises
    ------
    InvalidArgument
        A field that the config does not have, or a value it does not take.
    """
    kind = config_class(network)
    known = [each.name for each in fields(kind)]
    for name in config:
        if name not in known:
            raise InvalidArgument(f"a field of {network} ({', '.join(known)}) expected, was {name!r}")
    try:
        checked = kind(**{**config, "inputs": inputs})
    except ValueError as error:  # a network's own condition; model_defs knows nothing of ours
        raise InvalidArgument(f"{network}: {error}") from None
    return {"module": NETWORKS[network][0], "config": asdict(checked)}
