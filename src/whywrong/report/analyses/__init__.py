"""Reports of analyses over a data set, one module or package each."""
