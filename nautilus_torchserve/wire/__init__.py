"""What goes over the inference port: bodies, headers, errors and their HTTP codes."""
