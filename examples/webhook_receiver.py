"""Receive webhooks: verify each, and print what it says. Needs IMPASTO_API_KEY, as quickstart.py does.

    python examples/webhook_receiver.py     # in one shell
    python examples/quickstart.py           # in another

It makes an endpoint for itself, and deletes it in the end. A platform elsewhere cannot reach this machine:
pass the URL of a tunnel, and the port that it leads to.
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from impasto import Impasto, WebhookVerificationError, webhooks

MAX_BYTES = 20_000  # no webhook has more

seen: set[str] = set()  # a database's, in earnest
secret = ""


def handle(event: webhooks.Event) -> None:
    if event.id in seen:
        return  # events come at least once: the id says that this one was here before
    seen.add(event.id)
    match event:
        case webhooks.JobSucceeded():
            print(f"{event.data.id} succeeded: {', '.join(image.id for image in event.data.images)}")
        case webhooks.JobFailed():
            print(f"{event.data.id} failed: {event.data.error and event.data.error.message}")
        case _:
            print(event.type, event.data)


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers["Content-Length"]), MAX_BYTES))
        try:
            event = webhooks.unwrap(body, self.headers, secret)
        except WebhookVerificationError as error:
            print("refused:", error)
            self.send_error(400)
            return
        self.send_response(204)  # at once: what takes long is done after the answer
        self.end_headers()
        handle(event)

    def log_message(self, *_: object) -> None:
        pass  # what is printed is the events


port = int(sys.argv[2]) if len(sys.argv) > 2 else 0  # any that is free

with Impasto() as client, ThreadingHTTPServer(("127.0.0.1", port), Receiver) as server:
    url = sys.argv[1] if len(sys.argv) > 1 else f"http://127.0.0.1:{server.server_port}/"
    endpoint = client.webhooks.endpoints.create(url, description="webhook_receiver.py")
    secret = endpoint.secret
    print(f"{endpoint.id} is told at {url}. Ctrl-C ends it.")
    try:
        client.webhooks.endpoints.test(endpoint.id)
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        client.webhooks.endpoints.delete(endpoint.id)
