// node-redis as it is: it asks for notices and counts while the primary moves.
//
// usage: node node_redis.mjs HOST, with REDIS_EMIT_DIAGNOSTICS set
// Says "ready" when it counts; counts until its input ends; prints what it heard, what failed, and how
// far it came, as JSON.

import diagnostics from "node:diagnostics_channel";
import { createClient } from "redis";

const heard = [];
const errors = [];
diagnostics.subscribe("redis.maintenance", (event) => {
  if (event.data?.push) heard.push(event.type);
});

const client = createClient({
  socket: { host: process.argv[2], port: 6379, reconnectStrategy: false },
  RESP: 3,
  // With "enabled" the connection fails if the server does not know notices.
  maintNotifications: "enabled",
});
client.on("error", (error) => errors.push(String(error)));
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
console.log(JSON.stringify({ heard, errors, acknowledged, counted }));
client.destroy();
