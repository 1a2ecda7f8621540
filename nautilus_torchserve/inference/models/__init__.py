"""The built-in models: what each answers, refuses and explains, one a file."""
