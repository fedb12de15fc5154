"""impastoctl: starts, migrates and operates Impasto."""
