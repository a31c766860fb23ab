"""The commands of `opinionwatch`, a file per concern; `cli.py` mounts them."""
