"""Multi-order interactions of image patches: what kind of cooperation was behind a decision."""
