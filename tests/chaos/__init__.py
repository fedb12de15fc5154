"""Proof by kill -9: a platform under load, faults at random, and a look from outside at what was promised.

    nox -s chaos -- --seed 7 --minutes 10

`faults` makes a plan out of a seed, `conductor` carries it out on the `servers` and the `programs`, while
`customers` order pictures and a `receiver` takes webhooks. Then `verdict` asks the platform, as its customers
can, for everything that it owes them. See docs/reliability.md.
"""
