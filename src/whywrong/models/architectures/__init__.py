"""Capsule networks, and the convolutional networks and transformers that they are compared with."""
