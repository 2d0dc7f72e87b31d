// The core of the tick stream with Node's `ws`. The whole of it is in stream.py.

import { createRequire } from "node:module";
import { parseArgs } from "node:util";

// `require` looks into NODE_PATH, `import` does not.
const { WebSocket } = createRequire(import.meta.url)("ws");

const RELIANCE = "738561";
const INFY = "408065";
const PATIENCE_MS = 5000;

const { values: options } = parseArgs({ options: { url: { type: "string" } } });
if (!options.url) fail("--url http://HOST:PORT is missing");

function fail(message) {
  console.error(`not ok - ${message}`);
  process.exit(1);
}

function check(condition, message) {
  if (!condition) fail(message);
}

function ok(message) {
  console.log(`ok - ${message}`);
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

class Tab {
  messages = [];

  static async open() {
    const tab = new Tab();
    tab.socket = new WebSocket(`${options.url.replace("http://", "ws://")}/ws/stream`);
    tab.socket.on("message", (data, binary) => tab.messages.push(binary ? { binary: data } : JSON.parse(data)));
    await new Promise((done, failed) => tab.socket.once("open", done).once("error", failed));
    tab.socket.on("error", (error) => fail(`the connection broke: ${error.message}`));
    tab.socket.on("close", (code, reason) => tab.closing || fail(`the server closed the connection: ${code} ${reason}`));
    return tab;
  }

  /** Sends a request, or any text, and returns the reply of that type; what came before is dropped. */
  async ask(type, request) {
    this.socket.send(typeof request === "string" ? request : JSON.stringify(request));
    for (const end = Date.now() + PATIENCE_MS; Date.now() < end; await sleep(5)) {
      const at = this.messages.findIndex((message) => message.type === type);
      if (at >= 0) return this.messages.splice(0, at + 1)[at];
    }
    return fail(`no ${type} to ${JSON.stringify(request)}`);
  }

  /** The ticks of that time. */
  async listen(ms) {
    await sleep(ms);
    return this.messages.splice(0).filter(({ type }) => type === "tick");
  }

  async close() {
    this.closing = true;
    const closed = new Promise((done) => this.socket.once("close", done));
    this.socket.close();
    await closed;
  }
}

const tokens = (ticks) => [...new Set(ticks.map(({ token }) => token))].sort().join();

const tab = await Tab.open();
const reply = await tab.ask("subscribed", { action: "subscribe", symbols: ["RELIANCE", "NO-SUCH-SYMBOL"] });
check(reply.tokens.join() === RELIANCE, `tokens are ${reply.tokens}`);
check(reply.unknown_symbols?.join() === "NO-SUCH-SYMBOL", `unknown_symbols are ${reply.unknown_symbols}`);
let ticks = await tab.listen(1500);
check(ticks[0]?.snapshot === true, `the first tick is no snapshot: ${JSON.stringify(ticks[0])}`);
check(ticks.length > 1 && tokens(ticks) === RELIANCE, `${ticks.length} ticks of ${tokens(ticks)}`);
check(ticks.every((tick) => typeof tick.price === "number" && typeof tick.timestamp === "number"), "a tick without price");
ok("subscribe by symbol: reply, snapshot, ticks of this token only");

await tab.ask("subscribed", { action: "subscribe", tokens: [Number(INFY)] });
ticks = await tab.listen(1500);
check(tokens(ticks) === INFY, `after the second subscribe came ${tokens(ticks)}`);
ok("a second subscribe replaces the first");

await tab.ask("unsubscribed", { action: "unsubscribe", tokens: [INFY] });
check((await tab.listen(1000)).length === 0, "ticks after the unsubscribe");
ok("after the unsubscribe nothing comes");

check(typeof (await tab.ask("pong", { action: "ping" })).timestamp === "number", "a pong without timestamp");
check((await tab.ask("error", "no JSON")).error === "Invalid JSON", "no Invalid JSON");
check(JSON.stringify(await tab.ask("error", { action: "dance" })).includes("action"), "the error does not name the field");
ok("ping and errors");
await tab.close();

const packed = await Tab.open();
packed.socket.send(JSON.stringify({ action: "subscribe", tokens: [RELIANCE], format: "msgpack" }));
await sleep(1000);
const frames = packed.messages.filter(({ binary }) => binary).map(({ binary }) => binary.toString("latin1"));
check(frames.some((frame) => frame.includes("\xa5token\xa6738561")), "no MessagePack tick of the token");
ok("msgpack comes in binary frames");
await packed.close();
