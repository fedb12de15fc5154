"""A workflow of InvokeAI's editor as an endpoint of one's own.

python examples/workflow.py exported.json tiger positive_prompt="a big red heart" model=impasto-shapes
"""

import json
import sys
from pathlib import Path
from typing import Any

from impasto import ConflictError, Impasto

file, slug, *settings = sys.argv[1:]
workflow = json.loads(Path(file).read_text())
inputs: dict[str, Any] = {}
for setting in settings:
    name, _, value = setting.partition("=")
    inputs[name] = int(value) if value.isdigit() else value

with Impasto() as client:
    try:
        client.workflows.create(slug, workflow)
    except ConflictError:  # it was saved before: what has changed since is a new version
        client.workflows.add_version(slug, workflow)

    latest = next(iter(client.workflows.versions(slug)))
    for name, schema in latest.input_schema["properties"].items():
        print(f"{name:24} {schema.get('type', '')!s:10} {schema.get('default', 'required')}")

    for number, image in enumerate(client.workflows.run(slug, progress=True, **inputs)):
        print(f"saved    {image.save(f'{slug}_{number}.png')}")
