"""Subcommands of `trg-headpose`: one module each, with `add_arguments(parser)` and `main(args) -> int`."""
