"""Explanations on consoles and pages."""
