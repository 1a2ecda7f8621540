"""Every question, decision, order and fill of a run, kept append-only, and read again."""
