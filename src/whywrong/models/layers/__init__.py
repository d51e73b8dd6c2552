"""Parts of a network that methods read, such as layers, token grids, the linear head and the last layer."""
