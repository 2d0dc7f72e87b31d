// The official Node client, unchanged but for its root: told what to do, and telling what happens, one JSON a line.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

// `require` looks into NODE_PATH, `import` does not.
const require = createRequire(import.meta.url);
const { KiteTicker } = require("kiteconnect");

const [root, api_key, access_token] = process.argv.slice(2);
const tell = (event, more) => process.stdout.write(`${JSON.stringify({ event, ...more })}\n`);

/** What a tick holds, as the Python client's JSON has it; a time as its epoch. */
function plain(value) {
  if (value instanceof Date) return { epoch: Math.floor(value.getTime() / 1000) };
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
}

const ticker = new KiteTicker({ api_key, access_token, root });
const wishes = [];
let holds = false;
const METHODS = { subscribe: "subscribe", unsubscribe: "unsubscribe", set_mode: "setMode" };
const ask = ([order, ...rest]) => ticker[METHODS[order]](...rest);

ticker.on("connect", () => {
  wishes.forEach(ask);
  tell("connect");
});
ticker.on("message", (data) => {
  if (data.byteLength === 1 && new Uint8Array(data)[0] === 0) tell("heartbeat");
  else tell("message", { bytes: data.byteLength });
});
ticker.on("ticks", (ticks) => tell("ticks", { ticks: plain(ticks) }));
ticker.on("close", (event) => {
  tell("close", { code: event.code, reason: String(event.reason) });
  // The client tries only once to come back, a second later: when the test lets it go on, the gateway is there.
  if (holds) {
    holds = false;
    process.kill(process.pid, "SIGSTOP");
  }
});
ticker.on("error", (event) => tell("error", { code: -1, reason: String(event.message) }));
ticker.on("reconnect", (attempts) => tell("reconnect", { attempts }));

// What the test says. Before `connect`: each `wish`, asked for at each connection, and `hold`, which stops the process
// when its first connection is closed. Everything else is asked for now.
const orders = createInterface({ input: process.stdin });
orders.on("line", (line) => {
  const [order, ...rest] = JSON.parse(line);
  if (order === "wish") wishes.push(rest);
  else if (order === "hold") holds = true;
  else if (order === "connect") ticker.connect();
  else ask([order, ...rest]);
});
orders.on("close", () => process.exit(0));
