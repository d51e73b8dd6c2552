"""Claims C1 to C8 about multi-order interactions and patch groups."""
