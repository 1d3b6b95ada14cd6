// node-redis with TLS, which asks for notices: it counts while the proxy becomes another program.
//
// usage: node renewal.mjs HOST, with REDIS_EMIT_DIAGNOSTICS set and NODE_EXTRA_CA_CERTS as `tanist env`
// says. Counts until its input ends; prints what it heard, what its caller saw fail, and how far it came.

import diagnostics from "node:diagnostics_channel";
import { createClient } from "redis";

const heard = [];
const errors = [];
const socketErrors = [];
diagnostics.subscribe("redis.maintenance", (event) => {
  if (event.data?.push) heard.push(event.type);
});

const client = createClient({
  socket: { host: process.argv[2], port: 6379, tls: true },
  RESP: 3,
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
