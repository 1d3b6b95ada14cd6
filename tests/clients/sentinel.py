"""A Sentinel-aware application in Python: it writes until it is told to stop, with a failover on the
way, and reads back what was acknowledged.

usage: python sentinel.py redis-py HOST PORT NAME
Says "ready" when it writes; reads "stop" from its input; prints what came of it as JSON.
"""

import json
import sys
import threading
import time

from redis.exceptions import RedisError
from redis.sentinel import Sentinel

ENOUGH = 50
PATIENCE = 30

_, host, port, name = sys.argv[1:]
sentinel = Sentinel([(host, int(port))], socket_timeout=5)
assert len(sentinel.discover_slaves(name)) == 2, sentinel.discover_slaves(name)
client = sentinel.master_for(name, socket_timeout=PATIENCE, decode_responses=True)

stopping = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), stopping.set()), daemon=True).start()

acked = {}
outcome = {"acked": 0, "after": 0, "uncertain": 0, "lost": [], "errors": []}
number = 0
while outcome["after"] < ENOUGH and len(outcome["errors"]) < 10_000:
    key, value = f"k{number}", str(number)
    number += 1
    told = stopping.is_set()
    try:
        client.set(key, value)
    except RedisError as error:
        if str(error).startswith("UNCERTAIN"):
            outcome["uncertain"] += 1
        else:
            outcome["errors"].append(str(error))
        time.sleep(0.01)
        continue
    acked[key] = value
    outcome["after"] += told
    if len(acked) == ENOUGH:
        print("ready", flush=True)
outcome["lost"] = [key for key, value in acked.items() if client.get(key) != value]
outcome["acked"] = len(acked)
print(json.dumps(outcome), flush=True)
