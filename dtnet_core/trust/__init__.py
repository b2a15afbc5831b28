"""May an answer be believed? Is it possible at all, is the crystal like those that were learned from, how certain are eigenvalues and axes."""
