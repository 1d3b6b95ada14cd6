// node-redis as it is: it asks for notices and counts, whatever happens meanwhile.
//
// usage: node node_redis.mjs HOST [tls], with REDIS_EMIT_DIAGNOSTICS set, and with `tls` what `tanist env` says
// Says "ready" when it counts; counts until its input ends; prints what it heard, what its caller saw
// fail, what its sockets did, and how far it came, as JSON.

import diagnostics from "node:diagnostics_channel";
import { createClient } from "redis";

const heard = [];
const errors = [];
const socketErrors = [];
diagnostics.subscribe("redis.maintenance", (event) => {
  if (event.data?.push) heard.push(event.type);
});

const socket = { host: process.argv[2], port: 6379 };
const client = createClient({
  // A plain connection is never to end; one that is encrypted ends when it has said so.
  socket: process.argv[3] ? { ...socket, tls: true } : { ...socket, reconnectStrategy: false },
  RESP: 3,
  // With "enabled" the connection fails if the server does not know notices.
  maintNotifications: "enabled",
});
client.on("error", (error) => socketErrors.push(String(error)));
await client.connect();

let ended = false;
process.stdin.on("end", () => (ended = true)).resume();
console.log("ready");
let acknowledged = 0;
while (!ended) {
  try {
    await client.incr("counter");
    acknowledged += 1;
  } catch (error) {
    errors.push(String(error));
  }
}
const counted = Number(await client.get("counter"));
console.log(JSON.stringify({ heard, errors, socketErrors, acknowledged, counted }));
client.destroy();
