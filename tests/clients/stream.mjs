// The core of the tick stream with Node's `ws`. The whole of it is in stream.py.

import { createRequire } from "node:module";
import { parseArgs } from "node:util";

// `require` looks into NODE_PATH, `import` does not.
const { WebSocket } = createRequire(import.meta.url)("ws");

const RELIANCE = "738561";
const INFY = "408065";
/** After which what has not come is a failure. Only ever spent by a test that fails. */
const PATIENCE_MS = 20_000;

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

const isTick = ({ type }) => type === "tick";

class Tab {
  messages = [];

  static async open() {
    const tab = new Tab();
    tab.socket = new WebSocket(`${options.url.replace("http://", "ws://")}/ws/stream`);
    tab.socket.on("message", (data, binary) => tab.messages.push(binary ? { binary: data } : JSON.parse(data)));
    await new Promise((done, failed) => tab.socket.once("open", done).once("error", failed));
    tab.socket.on("error", (error) => fail(`the connection broke: ${error.message}`));
    tab.socket.on("close", (code, reason) => tab.closing || fail(`the server closed it: ${code} ${reason}`));
    return tab;
  }

  /** Waits until that holds of the messages. */
  async until(what, holds) {
    for (const end = Date.now() + PATIENCE_MS; !holds(this.messages); await sleep(5)) {
      check(Date.now() < end, `waited in vain for ${what}`);
    }
  }

  /** Sends a request, or any text, and returns what came until there was a reply of that type, which is the last. */
  async upTo(type, request) {
    const text = typeof request === "string" ? request : JSON.stringify(request);
    this.socket.send(text);
    const at = () => this.messages.findIndex((message) => message.type === type);
    await this.until(`${type} to ${text}`, () => at() >= 0);
    return this.messages.splice(0, at() + 1);
  }

  /** The reply of that type; what came before is dropped. */
  async ask(type, request) {
    return (await this.upTo(type, request)).at(-1);
  }

  /**
   * The ticks until there are so many, and of a while after that, up to the answer to a ping at its end: what was sent
   * and is not read yet, since this process was held up, is not missed.
   */
  async listen(count, ms) {
    await this.until(`${count} ticks`, (messages) => messages.filter(isTick).length >= count);
    await sleep(ms);
    return (await this.upTo("pong", { action: "ping" })).filter(isTick);
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
let ticks = await tab.listen(2, 1500);
check(ticks[0]?.snapshot === true, `the first tick is no snapshot: ${JSON.stringify(ticks[0])}`);
check(tokens(ticks) === RELIANCE, `ticks of ${tokens(ticks)}`);
const isComplete = ({ price, timestamp }) => typeof price === "number" && typeof timestamp === "number";
check(ticks.every(isComplete), "a tick without price or time");
ok("subscribe by symbol: reply, snapshot, ticks of this token only");

await tab.ask("subscribed", { action: "subscribe", tokens: [Number(INFY)] });
ticks = await tab.listen(1, 1500);
check(tokens(ticks) === INFY, `after the second subscribe came ${tokens(ticks)}`);
ok("a second subscribe replaces the first");

await tab.ask("unsubscribed", { action: "unsubscribe", tokens: [INFY] });
check((await tab.listen(0, 1000)).length === 0, "ticks after the unsubscribe");
ok("after the unsubscribe nothing comes");

check(typeof (await tab.ask("pong", { action: "ping" })).timestamp === "number", "a pong without timestamp");
check((await tab.ask("error", "no JSON")).error === "Invalid JSON", "no Invalid JSON");
const error = await tab.ask("error", { action: "dance" });
check(JSON.stringify(error).includes("action"), "the error does not name the field");
ok("ping and errors");
await tab.close();

const packed = await Tab.open();
packed.socket.send(JSON.stringify({ action: "subscribe", tokens: [RELIANCE], format: "msgpack" }));
const isPackedTick = ({ binary }) => binary?.toString("latin1").includes("\xa5token\xa6738561");
await packed.until("a MessagePack tick of the token", (messages) => messages.some(isPackedTick));
ok("msgpack comes in binary frames");
await packed.close();
