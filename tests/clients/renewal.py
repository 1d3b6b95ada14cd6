"""redis-py with `ssl=True`, which asks for notices: it counts while the proxy becomes another program.

Counts until its standard input ends; prints what it heard, what its caller saw fail, how far it came, and
how many connections that took.
"""

import json
import sys
import threading
import traceback

import redis
from redis.maint_notifications import (
    MaintNotificationsConfig,
    MaintNotificationsPoolHandler,
)

heard, errors, ports = [], [], set()
handle = MaintNotificationsPoolHandler.handle_notification


def record(self, notification):
    heard.append(type(notification).__name__)
    return handle(self, notification)


MaintNotificationsPoolHandler.handle_notification = record
client = redis.Redis(
    host=sys.argv[1],
    port=6379,
    ssl=True,
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
        ports.add(client.client_id())
    except redis.RedisError:
        errors.append(traceback.format_exc())
counted = int(client.get("counter"))
report = {"heard": heard, "errors": errors, "acknowledged": acknowledged, "counted": counted}
print(json.dumps(report | {"connections": len(ports)}))
