"""What the report says about the model as a whole, with attractors, classes and confidence."""
