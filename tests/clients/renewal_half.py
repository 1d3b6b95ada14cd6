"""A client of TLS and nothing else, which is in the middle of a request when the proxy is upgraded.

Says "ready" with half a request sent; sends the rest a moment after its input has a line. Prints what
it was answered, how the connection ended, and whether a new one works at once.
"""

import json
import socket
import ssl
import sys
import time

context = ssl.create_default_context()


def dial():
    raw = socket.create_connection((sys.argv[1], 6379), timeout=15)
    return context.wrap_socket(raw, server_hostname=sys.argv[1], suppress_ragged_eofs=False)


connection = dial()
idle = dial()
idle.sendall(b"PING\r\n")
assert idle.recv(100) == b"+PONG\r\n"
connection.sendall(b"*2\r\n$4\r\nINCR\r\n$4\r\nha")
print("ready", flush=True)
sys.stdin.readline()
# The proxy tries the program out meanwhile, and the other connection ends.
end_of_idle = idle.recv(100)
time.sleep(0.2)
connection.sendall(b"lf\r\n")
answer = connection.recv(100)
try:
    end = connection.recv(100).decode()
except (ssl.SSLError, OSError) as error:
    end = repr(error)
again = dial()
again.sendall(b"GET half\r\n")
report = {"answer": answer.decode(), "end": end, "end_of_idle": end_of_idle.decode()}
print(json.dumps(report | {"kept": again.recv(100).decode()}))
