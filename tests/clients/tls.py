"""redis-py with `ssl=True` and nothing else, as `tanist env` prepares the terminal.

It does what the lines of its standard input say, one at a time, on the one connection that it opened at
its start, and answers each with a line of JSON.
"""

import json
import socket
import ssl
import sys
import threading

import redis

HOST, PORT = sys.argv[1], 6379


def connect(host=HOST):
    return redis.Redis(
        host=host, port=PORT, ssl=True, single_connection_client=True, socket_timeout=15, retry=None
    )


def handshake(name):
    """Dials the endpoint by another name; the certificate's names, or why it was not accepted."""
    context = ssl.create_default_context()
    try:
        with socket.create_connection((HOST, PORT), timeout=10) as raw:
            with context.wrap_socket(raw, server_hostname=name) as wrapped:
                return sorted(value for _, value in wrapped.getpeercert()["subjectAltName"])
    except ssl.SSLError as error:
        return str(error)


class Counter(threading.Thread):
    """Counts until it is told to stop, on the connection that exists."""

    def __init__(self, client):
        super().__init__(daemon=True)
        self.client, self.ended = client, threading.Event()
        self.acknowledged, self.uncertain, self.errors = 0, 0, []

    def run(self):
        while not self.ended.is_set():
            try:
                self.client.incr("counter")
                self.acknowledged += 1
            except redis.ResponseError as error:
                if str(error).startswith("UNCERTAIN"):
                    self.uncertain += 1
                else:
                    self.errors.append(str(error))
            except redis.RedisError as error:
                self.errors.append(str(error))


def say(value):
    print(json.dumps(value), flush=True)


try:
    client = connect()
    client.ping()
except redis.RedisError as error:
    say({"error": str(error)})
    sys.exit(1)
# The connection is named by its own end: a new one would have another port.
port = client.connection._sock.getsockname()[1]
say({"cipher": client.connection._sock.version()})
counter = None
for line in sys.stdin:
    word, *rest = line.split()
    if word == "count":
        counter = Counter(client)
        counter.start()
        say({})
    elif word == "stop":
        counter.ended.set()
        counter.join()
        say(
            {
                "acknowledged": counter.acknowledged,
                "uncertain": counter.uncertain,
                "errors": counter.errors,
                "counted": int(client.get("counter")),
                "same": client.connection._sock.getsockname()[1] == port,
            }
        )
    elif word == "handshake":
        say({"names": handshake(rest[0])})
    elif word == "ping":
        client.ping()
        say({"same": client.connection._sock.getsockname()[1] == port})
