"""Classifiers behind an HTTP address: settings, request forms, calls, and the ledger of queries."""
