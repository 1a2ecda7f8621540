"""The folder of the user's own parts: handlers, networks, trading rules, server configuration."""

from pathlib import Path

BUNDLE = Path(__file__).resolve().parents[1]
"""The checkout: ``handlers/``, ``model_defs/``, ``strategies/``, ``archives/`` and
``config.properties``.
"""
