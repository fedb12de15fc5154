"""A picture painted anew after a prompt.

python examples/image_to_image.py sketch.png "a blue star on white"
"""

import sys

from impasto import Impasto

picture, prompt = sys.argv[1:]

with Impasto() as client:
    for strength in (0.3, 0.6, 0.9):  # from nearly the picture as it was to nearly nothing left of it
        images = client.images.transform(picture, prompt, strength=strength, seed=7, progress=True)
        print(images[0].save(f"strength_{strength}.png"))
