"""TorchServe's worker around the inference core: batches, headers, statuses, limits and the worker's socket."""
