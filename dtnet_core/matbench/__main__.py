"""Command line: ``python -m dtnet_core.matbench --help``."""

from .run import main

if __name__ == "__main__":
    main()
