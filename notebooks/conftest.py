"""nbval compares these notebooks as `dtnet_core.run.comparison` says."""

from dtnet_core.run.comparison import watch


def pytest_collection_modifyitems(items):
    watch(items)
