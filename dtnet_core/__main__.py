"""``python -m dtnet_core`` is the command `dtnet`."""

from .run.command_line import main

if __name__ == "__main__":
    main()
