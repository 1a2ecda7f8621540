"""Run folders, their configuration and tracking."""
