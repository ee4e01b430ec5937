"""The stored rows of cycles: the ledger of slots, results, rule states, labels, erasures."""
