"""Nobody gets a token he did not ask for: three steady clients, then a storm of clients that change their minds.

The rule: once the reply to a subscribe or unsubscribe was received, no tick of a token outside the present set may
come. Before it, ticks of the set before are still right.
"""

import argparse
import asyncio
import collections
import contextlib
import json
import random
import time

import websockets

from tab import PATIENCE, Failure, Tab, check, conflated, connect, decode, get, later_than, ok, run, ticks

HEAD_TIMEOUT = 3.0
"""Seconds after which the gateway gives up a connection that has asked for nothing."""
STORM_PATIENCE = 60
"""Seconds, as PATIENCE is, where one process reads for many clients and a reply stands behind what waits for them."""


async def token_of(url, symbol):
    async with await Tab.open(url) as tab:
        reply = await tab.ask("subscribed", action="subscribe", symbols=[symbol])
        check(len(reply["tokens"]) == 1, f"{symbol} is not known: {reply}")
        return reply["tokens"][0]


async def steady(url, seconds):
    symbols = ["RELIANCE", "NIFTY DIV OPPS 50"]
    one, other = [await token_of(url, symbol) for symbol in symbols]
    check(one == "738561", f"RELIANCE is {one}")

    sets = [[one], [other], [one, other]]
    async with contextlib.AsyncExitStack() as stack:
        tabs = [await stack.enter_async_context(await Tab.open(url)) for _ in sets]
        for tab, tokens in zip(tabs, sets):
            await tab.ask("subscribed", action="subscribe", tokens=tokens)
        firsts = [(await tab.until("tick"))[0] for tab in tabs]
        # By the server's clock, as all times here. Within a second of leaving something out, the server says so.
        end = max(first["timestamp"] for first in firsts) + seconds
        listening = (tab.collect(later_than(end + 2), f"ticks for {seconds:g} s", seconds + PATIENCE) for tab in tabs)
        heard = [[first, *rest] for first, rest in zip(firsts, await asyncio.gather(*listening))]
    counts = [collections.Counter(tick["token"] for tick in ticks(messages)) for messages in heard]
    for tokens, seen in zip(sets, counts):
        check(set(seen) <= set(tokens), f"a client of {tokens} got {sorted(set(seen) - set(tokens))}")
        check(set(seen) == set(tokens), f"a client of {tokens} got nothing of {sorted(set(tokens) - set(seen))}")
        # One is the snapshot; a market that moves sends more.
        check(min(seen.values()) > 1, f"a client of {tokens} got {seen}")
    left_out = sum(conflated(messages) for messages in heard)
    for number, token in enumerate((one, other)):
        both = [[tick["timestamp"] for tick in ticks(heard[at]) if tick["token"] == token] for at in (number, 2)]
        begin = max(times[0] for times in both)
        alone, shared = (sum(begin < time_ <= end for time_ in times) for times in both)
        check(abs(alone - shared) <= 5 + left_out, f"{token}: {alone} alone, {shared} together with another")
    ok(f"three clients for {seconds:g} s: each got all of its own and nothing else "
       f"{[dict(seen) for seen in counts]}")


def market_tokens(url):
    """Every token the gateway can be asked for, at most some hundreds."""
    found = get(url, "/instruments/search?q=&limit=500")["instruments"]
    tokens = [str(instrument["instrument_token"]) for instrument in found]
    if len(tokens) < 10:
        tokens = [str(token) for token in get(url, "/ws/health")["websocket_stats"]["subscribed_tokens"]]
    check(len(tokens) >= 10, f"the market has only {len(tokens)} instruments")
    return tokens


class Counts:
    ticks = changes = vanished = clients = 0


class Fickle:
    """A client that changes its mind at random and checks each tick against what it wants now."""

    def __init__(self, url, tokens, dice, counts):
        self.url, self.tokens, self.dice, self.counts = url, tokens, dice, counts
        self.mine, self.allowed = set(), set()

    async def live(self, end):
        while time.monotonic() < end:
            self.mine, self.allowed = set(), set()
            socket = await self.connect()
            self.counts.clients += 1
            for _ in range(self.dice.randint(1, 8)):
                if time.monotonic() < end:
                    await self.change(socket)
                    await self.read(socket, min(end, time.monotonic() + self.dice.uniform(0.05, 1.0)), None)
            if self.dice.random() < 0.5:
                # No close frame: the tab was killed, the laptop shut.
                socket.transport.abort()
                self.counts.vanished += 1
            else:
                await socket.close()

    async def connect(self):
        """A connection. When this process was held up before it asked, the gateway has ended it: then another one."""
        patience = time.monotonic() + PATIENCE
        while True:
            began = time.monotonic()
            try:
                return await connect(self.url, "/ws/stream", max_queue=256)
            except (OSError, websockets.WebSocketException) as error:
                if not began + HEAD_TIMEOUT <= time.monotonic() < patience:
                    raise Failure(f"no connection in the storm: {error}") from None

    async def change(self, socket):
        if self.mine and self.dice.random() < 0.4:
            gone = set(self.dice.sample(sorted(self.mine), self.dice.randint(1, len(self.mine))))
            request, reply, new = {"action": "unsubscribe", "tokens": sorted(gone)}, "unsubscribed", self.mine - gone
        else:
            new = set(self.dice.sample(self.tokens, self.dice.randint(1, min(20, len(self.tokens)))))
            mode = self.dice.choice(["ltp", "quote", "full"])
            request, reply = {"action": "subscribe", "tokens": sorted(new), "mode": mode}, "subscribed"
        self.allowed = self.mine | new
        await socket.send(json.dumps(request))
        # A server may send the snapshots before the reply, so the new set is allowed as soon as it is asked for.
        await self.read(socket, time.monotonic() + STORM_PATIENCE, reply)
        self.mine = self.allowed = new
        self.counts.changes += 1

    async def read(self, socket, end, reply):
        """Until that reply has come, or when there is none to wait for, until the end."""
        while (left := end - time.monotonic()) > 0:
            try:
                message = decode(await asyncio.wait_for(socket.recv(), left))
            except asyncio.TimeoutError:
                break
            except websockets.ConnectionClosed as closed:
                raise Failure(f"the server closed a client of the storm: {closed}") from None
            kind = message.get("type")
            if kind == "tick":
                self.counts.ticks += 1
                token = message["token"]
                check(token in self.allowed, f"LEAK: {token} to a client of {sorted(self.allowed)}: {message}")
            elif kind == "error":
                raise Failure(f"an error in the storm: {message}")
            elif reply is not None and kind == reply:
                return
        check(reply is None, f"no {reply!r} within {STORM_PATIENCE} s in the storm")


def those_left(url):
    """How many clients the gateway counts, and the subscribers of each token that has some."""
    stats = get(url, "/ws/health")["websocket_stats"]
    subscribers = stats.get("token_subscribers", {})
    return stats["connected_clients"], {token: count for token, count in subscribers.items() if count}


async def storm(url, clients, seconds, seed):
    tokens = market_tokens(url)
    counts = Counts()
    end = time.monotonic() + seconds
    fickle = [Fickle(url, tokens, random.Random(seed * 1_000_003 + number), counts) for number in range(clients)]
    tasks = [asyncio.ensure_future(one.live(end)) for one in fickle]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    check(counts.ticks > 0, "not one tick came in the storm")
    ok(f"storm of {clients} clients for {seconds:g} s, seed {seed}: {counts.clients} connections, "
       f"{counts.vanished} vanished, {counts.changes} changes, {counts.ticks} ticks, no leak")

    end = time.monotonic() + PATIENCE
    while any(left := those_left(url)) and time.monotonic() < end:
        await asyncio.sleep(0.1)
    connected, subscribers = left
    check(connected == 0, f"{PATIENCE:g} s after the storm {connected} clients are still connected")
    check(not subscribers, f"nobody is connected, but subscribers are counted: {dict(list(subscribers.items())[:5])}")
    ok("after the storm no connection and no subscription is left")


async def main(options):
    await steady(options.url, options.seconds)
    if options.clients:
        await storm(options.url, options.clients, options.storm_seconds, options.seed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="where the gateway serves, http://HOST:PORT")
    parser.add_argument("--seconds", type=float, default=10, help="length of the steady part (default 10)")
    parser.add_argument("--clients", type=int, default=40,
                        help="clients of the storm, 0 for none (default 40; one process reads about 40,000 ticks/s)")
    parser.add_argument("--storm-seconds", type=float, default=10, help="length of the storm (default 10)")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="repeats a storm's choices")
    run(main(parser.parse_args()))
