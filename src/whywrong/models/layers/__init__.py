"""The parts of a network that methods read: layers, grids of places, the linear head, the last layer."""
