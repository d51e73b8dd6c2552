"""Evidence: where in the image and in the network a decision comes from."""
