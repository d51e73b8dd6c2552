"""Verdicts on errors: signs, tests against matched controls, a calibrated cause, groups of errors and measured advice.

Everything here works on measurements that are passed in, never on run folders.
"""
