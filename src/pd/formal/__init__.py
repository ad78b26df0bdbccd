"""A model with a formal guarantee: private data reach it through a mechanism of the privacy ledger, and in no other way."""
