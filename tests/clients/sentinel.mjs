// A Sentinel-aware application in JavaScript: it writes until it is told to stop, with a failover on
// the way, and reads back what was acknowledged.
//
// usage: node sentinel.mjs ioredis|node-redis HOST PORT NAME
// Says "ready" when it writes; reads "stop" from its input; prints what came of it as JSON.

import { createInterface } from "node:readline";
import Redis from "ioredis";
import { createSentinel } from "redis";

const [library, host, port, name] = process.argv.slice(2);
const ENOUGH = 50;
const PATIENCE = 30_000;

/** A client of the library: `set` and `get`. */
async function connect() {
  if (library === "ioredis") {
    const client = new Redis({
      sentinels: [{ host, port: Number(port) }],
      name,
      failoverDetector: true,
      sentinelRetryStrategy: () => 20,
      retryStrategy: () => 20,
    });
    client.on("error", () => {});
    return client;
  }
  const client = createSentinel({
    name,
    sentinelRootNodes: [{ host, port: Number(port) }],
    maxCommandRediscovers: 1000,
  });
  client.on("error", () => {});
  await client.connect();
  return client;
}

let client = await connect();
const acked = new Map();
const outcome = { acked: 0, after: 0, uncertain: 0, redialled: 0, lost: [], errors: [] };

/**
 * ioredis ends a client for good, whatever its `retryStrategy` says, when its failover detector hears
 * of `+switch-master` while the client is between two connections. An application that turns the
 * detector on has to build a new client then.
 */
async function revived() {
  if (client.status !== "end") return;
  outcome.redialled += 1;
  client = await connect();
}

let stopping = false;
createInterface({ input: process.stdin }).once("line", () => (stopping = true));

async function within(promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("no answer")), PATIENCE);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

for (let n = 0; !stopping || outcome.after < ENOUGH; n += 1) {
  try {
    await within(client.set(`k${n}`, String(n)));
    acked.set(`k${n}`, String(n));
    if (stopping) outcome.after += 1;
    if (acked.size === ENOUGH) console.log("ready");
  } catch (error) {
    if (String(error.message).startsWith("UNCERTAIN")) outcome.uncertain += 1;
    else outcome.errors.push(String(error.message));
    if (outcome.errors.length > 10_000) break;
    await revived();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
for (const [key, value] of acked) {
  if ((await within(client.get(key))) !== value) outcome.lost.push(key);
}
outcome.acked = acked.size;
console.log(JSON.stringify(outcome));
process.exit(0);
