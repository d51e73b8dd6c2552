"""The search for spurious features over all classes: what is asked of the model, written down, and read back."""
