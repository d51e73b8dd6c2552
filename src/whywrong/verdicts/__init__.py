"""Verdicts on errors: signs, tests against matched controls, a calibrated cause, groups of errors and measured advice.

Everything here works on measurements that the caller passes in, never on run folders.
"""
