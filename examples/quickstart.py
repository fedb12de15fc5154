"""A prompt in, a picture out. Needs IMPASTO_API_KEY, and IMPASTO_BASE_URL unless you use the public API.

python examples/quickstart.py "a big red heart on a white background"
"""

import sys

from impasto import Impasto

prompt = " ".join(sys.argv[1:]) or "a big red heart on a white background"

with Impasto() as client:
    model = next(model for model in client.models.list() if model.default)
    print(f"painting {prompt!r} with {model.name}")

    quote = client.quotes.create("text-to-image", {"prompt": prompt, "model": model.id})
    print(f"quote    {quote.amount} of {quote.available} credits")

    images = client.images.generate(prompt, model=model.id, max_cost=quote.amount, progress=True)

    job = images.job
    print(f"job      {job.id}")
    print(f"queued   {job.queued_seconds:.2f} s")
    print(f"running  {job.running_seconds:.2f} s")
    if cost := job.cost:
        print(f"cost     {cost.amount} of {quote.amount} credits quoted, {cost.refunded} refunded")
        for item in cost.line_items:
            print(f"         {item.description}: {item.units} {item.meter}, {item.unit_price} a {item.per:,}")
    print(f"saved    {images[0].save('quickstart.png').resolve()}")
