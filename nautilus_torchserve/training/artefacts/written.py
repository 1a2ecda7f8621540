"""What of a foreign file a run folder holds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.models.spec import GENERIC_MODEL


@dataclass(frozen=True)
class Written:
    """What was written into a run folder besides ``model.json`` and golden inputs, and what the file says of itself."""

    network: Mapping[str, Any]
    """``network`` of ``model.json``."""
    files: tuple[str, ...] = ()
    """Files that the archive holds besides weights and golden inputs."""
    row_shape: tuple[int, ...] | None = None
    """Shape of one row; None where the file does not tell."""
    schema: FeatureSchema | None = None
    """Features; None: those of the spec, or columns of numbers in ``row_shape``."""
    outputs: tuple[str, ...] = ()
    """Names of the outputs; empty: those of the spec, or of the user."""
    activation: str | None = None
    """Activation that the file tells."""
    inference: str = GENERIC_MODEL
    """Inference class."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further parts of ``model.json``."""
