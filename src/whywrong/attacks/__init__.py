"""Attacks on the pixels that change a prediction; one module each, named after the attack."""
