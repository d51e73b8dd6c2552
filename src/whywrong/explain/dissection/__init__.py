"""Network dissection, which names what the units of a layer detect, with controls."""
