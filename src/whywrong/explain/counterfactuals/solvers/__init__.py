"""Solvers that maximise an objective of images inside an l_p ball intersected with [0, 1]."""
