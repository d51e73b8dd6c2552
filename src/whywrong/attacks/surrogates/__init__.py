"""Surrogates of a black box: networks distilled from its answers, banks of models, and directions along both."""
