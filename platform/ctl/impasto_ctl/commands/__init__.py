"""The commands, a module for each group. What they need of the platform is imported when one runs, so that
`--help` answers at once."""
