"""A signed webhook: enqueued with the order, sent by a worker, verified by who receives it."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from warnings import simplefilter

from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from jobforge_sa import Jobs, Worker
from jobforge_sa.connectors import TenantSecrets
from jobforge_sa.db import migrate
from jobforge_sa.egress.policy import Egress
from jobforge_sa.errors import RowSecurityOffWarning, WebhookRejected
from jobforge_sa.handlers import Connectors, Webhook
from jobforge_sa.secrets import SecretKeys
from jobforge_sa.testing.server import provide
from jobforge_sa.webhooks import ReplayWindow, new_secret, verify

simplefilter("ignore", RowSecurityOffWarning)  # a server of one's own has one login, its superuser
signing, window = new_secret(), ReplayWindow()  # the secret that sender and receiver share


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            verify(dict(self.headers), body, [signing], seen=window.seen)
        except WebhookRejected as error:
            return self.send_error(400, error.message)
        print("received", json.loads(body)["data"])
        self.send_response(204)
        return self.end_headers()

    def log_message(self, *_: object) -> None: ...


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
Thread(target=server.serve_forever, daemon=True).start()
here = f"http://127.0.0.1:{server.server_port}/hooks"
keys = SecretKeys.parse(SecretKeys.new_key("example"))  # else JOBFORGE_SECRET_KEYS: jobforge secrets new-key
egress = Egress(("http",), (server.server_port,), allow_hosts=("127.0.0.1",), allow_networks=("127.0.0.1/32",))
connectors = Connectors(egress=egress, keys=keys)  # what is not public only the operator's program allows

with provide(("JOBFORGE_EXAMPLES_URL",)) as url:
    engine = create_engine(url)
    migrate.upgrade(engine)
    with Session(engine) as session, session.begin():
        TenantSecrets(session, keys).set("acme", "hooks", signing)
        event = Webhook(target_url=here, event_type="order.paid", data={"order": 7}, secret_ref="hooks")
        Jobs(session, tenant="acme").enqueue(connectors.webhook, event)
    with Worker(engine, connectors.forge) as worker:
        worker.drain(10)
        print("jobs:", dict(worker.outcomes))

# Output:
# received {'order': 7}
# jobs: {'succeeded': 1}
