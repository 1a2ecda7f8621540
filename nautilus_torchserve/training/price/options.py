"""A price model's training from what a command line says: a configuration file, single values, defaults."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nautilus_torchserve.training.price.fit import BarFitConfig
from nautilus_torchserve.training.price.networks import WITH_INDICATORS, config_class
from nautilus_torchserve.training.price.training import PriceTraining
from nautilus_torchserve.training.runs.config import read_config
from nautilus_torchserve.training.runs.options import choose_device, read_setting

SECTIONS = ("network", "fit")


def price_training(
    network: str,
    config: Path | None = None,
    settings: Sequence[str] = (),
    indicators: bool | None = None,
    device: str = "auto",
    **fields: Any,
) -> PriceTraining:
    """Put a training together; what comes later in this list goes before what comes earlier.

    1. the defaults of the network's config and of `BarFitConfig`;
    2. a configuration file, as tuning writes it;
    3. single values, ``network.hidden=64`` or ``fit.learning_rate=0.002``.

    Parameters
    ----------
    indicators : bool, optional
        None takes what suits the network.
    device : str
        ``cpu``, ``cuda``, or ``auto`` for CUDA where there is one.
    **fields
        Further fields of `PriceTraining`.

    Raises
    ------
    BadConfig
        A file, key or value that no training accepts.
    """
    overrides: dict[str, dict[str, object]] = {name: {} for name in SECTIONS}
    for text in settings:
        section, name, value = read_setting(text, SECTIONS)
        overrides[section][name] = value
    built = read_config(config, {"network": config_class(network), "fit": BarFitConfig}, overrides)
    shape = {name: value for name, value in asdict(built["network"]).items() if name != "inputs"}
    with_indicators = network in WITH_INDICATORS if indicators is None else indicators
    return PriceTraining(network, shape, built["fit"], with_indicators, device=choose_device(device), **fields)
