"""redis-py as it is: it asks for notices of failovers and counts while the primary moves.

Counts until its standard input ends; prints what it heard, what failed, and how far it came.
"""

import json
import sys
import threading

import redis
from redis.maint_notifications import (
    MaintNotificationsConfig,
    MaintNotificationsConnectionHandler,
)

heard, errors = [], []
handle = MaintNotificationsConnectionHandler.handle_notification


def record(self, notification):
    heard.append(type(notification).__name__)
    return handle(self, notification)


MaintNotificationsConnectionHandler.handle_notification = record
# With `enabled=True` the connection fails if the server does not know notices.
client = redis.Redis(
    host=sys.argv[1],
    port=6379,
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
    except redis.RedisError as error:
        errors.append(str(error))
counted = int(client.get("counter"))
print(json.dumps({"heard": heard, "errors": errors, "acknowledged": acknowledged, "counted": counted}))
