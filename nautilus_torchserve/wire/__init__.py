"""Bodies, headers, errors and their HTTP codes on the inference port."""
