"""Credits: the balance, the grants it is made of, and every movement in the ledger."""
