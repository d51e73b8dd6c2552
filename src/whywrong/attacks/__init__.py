"""Changes of pixels that move a decision; one module each, named after the attack."""
