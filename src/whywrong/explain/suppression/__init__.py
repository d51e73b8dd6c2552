"""Promotion and suppression, what a change of an image adds to one score and takes from another, cell by cell."""
