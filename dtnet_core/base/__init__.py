"""What everything stands on: paths, files written whole, results with their provenance, the machine, Dask."""
