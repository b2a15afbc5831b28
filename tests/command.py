"""The command line in this process, for tests."""

from dtnet_core.run.command_line import main


def dtnet(*words: object) -> int:
    """Run `dtnet` with these words; its exit code."""
    try:
        main([str(word) for word in words])
    except SystemExit as stopped:
        return stopped.code or 0
    return 0
