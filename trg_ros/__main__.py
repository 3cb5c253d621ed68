"""`python -m trg_ros` is `trg-headpose`."""

from trg_ros.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
