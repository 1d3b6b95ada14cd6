"""redis-py as it is: it asks for notices and counts, whatever happens meanwhile.

usage: redis_py.py HOST [tls], with `tls` and what `tanist env` says
Counts until its standard input ends; prints what it heard, what its caller saw fail, how far it came, and
how many connections that took.
"""

import json
import sys
import threading

import redis
from redis.maint_notifications import (
    MaintNotificationsConfig,
    MaintNotificationsConnectionHandler,
    MaintNotificationsPoolHandler,
)

heard, errors, connections = [], [], set()


def recording(handle):
    def record(self, notification):
        heard.append(type(notification).__name__)
        return handle(self, notification)

    return record


# The first hears that the primary moves, the second that the connection is to.
for handler in (MaintNotificationsConnectionHandler, MaintNotificationsPoolHandler):
    handler.handle_notification = recording(handler.handle_notification)
# With `enabled=True` the connection fails if the server does not know notices.
client = redis.Redis(
    host=sys.argv[1],
    port=6379,
    ssl=len(sys.argv) > 2,
    protocol=3,
    socket_timeout=5,
    retry=None,
    maint_notifications_config=MaintNotificationsConfig(enabled=True),
)
client.ping()
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
print("ready", flush=True)
acknowledged = 0
while not ended.is_set():
    try:
        client.incr("counter")
        acknowledged += 1
        connections.add(client.client_id())
    except redis.RedisError as error:
        errors.append(str(error))
counted = int(client.get("counter"))
report = {"heard": heard, "errors": errors, "acknowledged": acknowledged, "counted": counted}
print(json.dumps(report | {"connections": len(connections)}))
