"""The aliases of the registry: which version serves, and which one runs in its shadow."""

CHAMPION = "champion"
CHALLENGER = "challenger"
