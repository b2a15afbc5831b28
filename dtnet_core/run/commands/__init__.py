"""The sub-commands of `dtnet`, one module a group. Each imports what it needs when it runs, so that ``--help`` is quick."""
