"""The ledger: append-only double entry in whole credits, guarded by PostgreSQL itself."""
