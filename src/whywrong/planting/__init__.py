"""Plant mistakes with known causes, and train the networks that make them."""
