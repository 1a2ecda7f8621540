"""Audit log: every request, decision, order and fill of a run, appended and never changed."""
