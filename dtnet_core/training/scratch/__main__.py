"""Command line: ``python -m dtnet_core.scratch --help``."""

from .experiment import main

if __name__ == "__main__":
    main()
