"""What a graph may ask for. Everything not bounded here is bounded by what it is made of."""

MAX_NODES = 500
MAX_EDGES = 2000
MAX_RUNS = 1000
"""Times that nodes run, all iterations counted: InvokeAI itself needs some 10 ms for each."""

MAX_ITERATORS = 3
"""Iterate nodes around one node: InvokeAI looks at every combination of their items."""

MAX_ITEMS = 1000
"""Length of a collection."""

MAX_RESULTS = 32
"""Images that a job may return."""

MAX_STEPS = 100
"""Denoising steps of one node."""

MAX_TOTAL_STEPS = 4000
"""Denoising steps of all nodes, iterations counted."""

MAX_SIDE = 4096
MAX_LATENT_PIXELS = 2048 * 2048
"""Of an image that latents stand for."""

MAX_TOTAL_PIXELS = 256 * 1024 * 1024
"""Of all images that a job makes, those in between too: a worker holds them in memory, at 4 bytes each."""

MAX_NUMBER = 2**53
MAX_TEXT = 10_000
MAX_PROMPT = 2000
MAX_DEPTH = 8
"""Of what is nested in a value."""

MAX_MODELS = 16
MAX_IMAGES = 32
"""Different ones that a graph names."""
