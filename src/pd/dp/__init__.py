"""Differential privacy on arrays: the ledger, the mechanisms, the one source of privacy noise, budgets, canaries. No torch."""
