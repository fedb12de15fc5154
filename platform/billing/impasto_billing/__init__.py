"""Plans, prices and the ledger.

Nothing is charged yet: the package holds the place in the house that money will have.
"""
