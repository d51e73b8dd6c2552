"""What the report shows of an analysis over a data set: one module or package each."""
