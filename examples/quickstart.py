"""A prompt in, a picture out. Needs IMPASTO_API_KEY, and IMPASTO_BASE_URL unless you use the public API.

python examples/quickstart.py "a big red heart on a white background"
"""

import sys

from impasto import Impasto

prompt = " ".join(sys.argv[1:]) or "a big red heart on a white background"

with Impasto() as client:
    model = next(model for model in client.models.list() if model.default)
    print(f"painting {prompt!r} with {model.name}")

    images = client.images.generate(prompt, model=model.id, progress=True)

    job = images.job
    print(f"job      {job.id}")
    print(f"queued   {job.queued_seconds:.2f} s")
    print(f"running  {job.running_seconds:.2f} s")
    print(f"saved    {images[0].save('quickstart.png').resolve()}")
