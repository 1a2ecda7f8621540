"""Parts of fitting that all model kinds share."""
