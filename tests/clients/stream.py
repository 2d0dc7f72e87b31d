"""The tick stream, request by request, with an independent client library.

Every check opens connections of its own, so that each can be read and fail alone.
"""

import argparse
import time

from tab import Tab, check, conflated, later_than, live, ok, run, ticks, tokens

RELIANCE = "738561"
INFY = "408065"
NIFTY_50 = "256265"

ALWAYS = {"type", "token", "price", "timestamp", "volume_traded"}
QUOTE = {"last_price", "last_traded_quantity", "average_traded_price", "total_buy_quantity", "total_sell_quantity",
         "ohlc", "change", "mode", "tradable"}
FULL = {"oi", "oi_day_high", "oi_day_low", "exchange_timestamp", "last_trade_time", "depth"}


async def live_ticks(tab, count, seconds):
    """The ticks until so many are no snapshots, and of a while after that."""
    return ticks(await tab.collect(lambda messages: len(live(messages)) >= count, f"{count} ticks")
                 + await tab.listen(seconds))


async def only(tab, expected, seconds):
    """Waits until there was a tick of each of these tokens, and listens on: none may be of another."""
    messages = await tab.collect(lambda messages: set(expected) <= tokens(messages), f"ticks of {expected}")
    seen = tokens(messages + await tab.listen(seconds))
    check(seen == set(expected), f"ticks of {seen}, asked for {expected}")


async def subscribe_by_symbol(url):
    async with await Tab.open(url) as tab:
        reply = await tab.ask("subscribed", action="subscribe", symbols=["RELIANCE", "NO-SUCH-SYMBOL"])
        for field, expected in {
            "tokens": [RELIANCE], "unknown_symbols": ["NO-SUCH-SYMBOL"], "timeframes": [], "throttle_ms": 0,
            "batch": False, "batch_size": 1, "format": "json",
        }.items():
            check(reply.get(field) == expected, f"subscribed: {field} is {reply.get(field)!r}, not {expected!r}")
        check("RELIANCE" in reply.get("symbols", []), f"subscribed: symbols are {reply.get('symbols')!r}")
        ok("subscribe by symbol is answered as documented, with the unknown symbol named")

        first, _ = await tab.until("tick")
        check(first["token"] == RELIANCE and first.get("snapshot") is True, f"the first tick is no snapshot: {first}")
        ok("the first tick is the snapshot")

        rest = await live_ticks(tab, 2, 2.0)
        strangers = tokens(rest) - {RELIANCE}
        check(not strangers, f"ticks of {strangers}, which nobody asked for")
        check(not any(tick.get("snapshot") for tick in rest), "a live tick is marked as a snapshot")
        ok(f"then live ticks, of {RELIANCE} only")

        tick = rest[-1]
        check(ALWAYS | QUOTE <= tick.keys(), f"a quote tick lacks {sorted((ALWAYS | QUOTE) - tick.keys())}: {tick}")
        check(not FULL & tick.keys(), f"a quote tick has {sorted(FULL & tick.keys())}")
        check(isinstance(tick["token"], str) and isinstance(tick["volume_traded"], int), f"types of {tick}")
        check(tick["price"] == tick["last_price"] > 0, f"price {tick['price']}, last_price {tick['last_price']}")
        check({"open", "high", "low", "close"} <= tick["ohlc"].keys(), f"ohlc is {tick['ohlc']}")
        check(abs(tick["timestamp"] - time.time()) < 3600, f"timestamp {tick['timestamp']} is not now")
        check(tick["mode"] == "quote" and tick["tradable"] is True, f"mode {tick['mode']}, tradable {tick['tradable']}")
        ok("a quote tick has the documented fields")


async def subscribe_by_token(url):
    async with await Tab.open(url) as tab:
        reply = await tab.ask("subscribed", action="subscribe", tokens=[RELIANCE, int(INFY)], symbols=["NSE:TCS"])
        check({RELIANCE, INFY} < set(reply["tokens"]) and len(reply["tokens"]) == 3, f"tokens are {reply['tokens']}")
        check(all(isinstance(token, str) for token in reply["tokens"]), f"tokens are {reply['tokens']}")
        await only(tab, reply["tokens"], 1.0)
        ok("tokens as strings and as integers, symbols with their exchange")


async def replace(url):
    async with await Tab.open(url) as tab:
        await tab.ask("subscribed", action="subscribe", tokens=[RELIANCE, INFY])
        await only(tab, [RELIANCE, INFY], 0.5)
        reply = await tab.ask("subscribed", action="subscribe", tokens=[NIFTY_50])
        check(reply["tokens"] == [NIFTY_50], f"tokens are {reply['tokens']}")
        await only(tab, [NIFTY_50], 1.5)
        ok("a second subscribe replaces the first")


async def unsubscribe(url):
    async with await Tab.open(url) as tab:
        await tab.ask("subscribed", action="subscribe", tokens=[RELIANCE, INFY])
        reply = await tab.ask("unsubscribed", action="unsubscribe", tokens=[RELIANCE])
        check(reply["tokens"] == [RELIANCE], f"unsubscribed: tokens are {reply['tokens']}")
        await only(tab, [INFY], 1.5)
        await tab.ask("unsubscribed", action="unsubscribe")
        check(not ticks(await tab.listen(1.0)), "ticks after an unsubscribe of everything")
        ok("unsubscribe takes away what it names, or everything")


async def requests(url):
    async with await Tab.open(url) as tab:
        pong = await tab.ask("pong", action="ping")
        check(abs(pong["timestamp"] - time.time()) < 60, f"pong at {pong['timestamp']}")
        ok("ping is answered")

        await tab.socket.send("this is no JSON")
        error, _ = await tab.until("error")
        check(error["error"] == "Invalid JSON", f"not JSON: {error}")
        error = await tab.ask("error", action="dance")
        text = str(error)
        check("action" in text and "subscribe" in text and "ping" in text, f"an unknown action: {error}")
        error = await tab.ask("error", action="subscribe", tokens=[RELIANCE], mode="deep")
        text = str(error)
        check("mode" in text and "ltp" in text and "full" in text, f"an unknown mode: {error}")
        ok("an error names the field and what is allowed")

        for request in (
            {"action": "history", "token": RELIANCE, "timeframe": "5min", "count": 10},
            {"action": "register_alert",
             "alert": {"type": "price_cross", "token": RELIANCE, "params": {"threshold": 1.0, "direction": "above"}}},
            {"action": "remove_alert", "alert_id": "00000000-0000-0000-0000-000000000000"},
        ):
            reply = None
            await tab.send(**request)
            while reply is None or reply.get("type") == "heartbeat":
                reply = await tab.next()
            answers = {"error", "history", "alert_registered", "alert_removed"}
            check(reply.get("type") in answers, f"{request['action']}: {reply}")
            check(reply["type"] != "error" or reply.get("error") or reply.get("message"), f"a mute error: {reply}")
        ok("history and alerts are answered, or refused in words")

        await tab.ask("subscribed", action="subscribe", tokens=[RELIANCE], unheard_of={"a": [1]})
        ok("unknown fields are ignored, and no error has closed the connection")


async def throttle(url):
    """Only lower bounds, since what is held up arrives later than it left and never earlier: no tick has left before it
    was asked for, nor before the time in it."""
    interval, count = 0.4, 5
    async with await Tab.open(url) as tab:
        asked = time.monotonic()
        await tab.send(action="subscribe", tokens=[RELIANCE, INFY], throttle_ms=400)
        reply, before = await tab.until("subscribed")
        check(reply["throttle_ms"] == 400, f"throttle_ms is {reply['throttle_ms']}")

        def of(token, messages):
            return [tick for tick in ticks(messages) if tick["token"] == token]

        def enough(messages):
            return all(len(live(of(token, messages))) >= count for token in (RELIANCE, INFY))

        messages = before + await tab.collect(enough, f"{count} throttled ticks of each token")
        for token in (RELIANCE, INFY):
            found = of(token, messages)
            for number, tick in enumerate(found):
                took = tick["at"] - asked
                check(took >= number * interval, f"{token}: tick {number} after {took:.3f} s, throttled to {interval}")
            for one, next_ in zip(found, found[1:]):
                # Some slack for the wall clock, which is set now and then.
                gap = next_["at_unix"] - one["timestamp"]
                check(gap > interval * 0.75, f"{token}: ticks {gap:.3f} s apart, throttled to {interval}")
        ok("throttle_ms spaces the ticks of each token")


async def latest_wins(url):
    """What a throttled tab shows must be the latest state at that moment, as a tab without throttle sees it.

    Moments are those of the server's clock, as they stand in the ticks; arrivals say nothing on a machine that is held
    up.
    """
    interval, slack, count = 0.7, 0.15, 6
    async with await Tab.open(url) as free, await Tab.open(url) as throttled:
        await free.ask("subscribed", action="subscribe", tokens=[RELIANCE])
        asked = (await throttled.ask("pong", action="ping"))["timestamp"]
        await throttled.send(action="subscribe", tokens=[RELIANCE], throttle_ms=700)
        _, before = await throttled.until("subscribed")
        after = await throttled.collect(lambda messages: len(live(messages)) >= count, f"{count} throttled ticks")
        slow = ticks(before + after)
        # Beyond the last one, and the second within which the server tells what it has left out.
        end = slow[-1]["timestamp"] + 2
        fast = await free.collect(later_than(end), "ticks after the last")
        for number, (one, next_) in enumerate(zip(slow, slow[1:]), 1):
            # It left an interval after the one before, or later.
            due = max(one["timestamp"] + interval, asked + number * interval) - slack
            known = max((tick["volume_traded"] for tick in ticks(fast) if tick["timestamp"] < due), default=0)
            volume = next_["volume_traded"]
            check(volume >= known, f"a throttled tick shows volume {volume}, when {known} was known")
            # And not much later, times apart when nothing moved since the gateway was held up.
            times = [tick["timestamp"] for tick in ticks(fast) if due < tick["timestamp"] < next_["timestamp"]]
            late = sum(min(later - earlier, 0.05) for earlier, later in zip(times, times[1:]))
            check(late < interval, f"a throttled tick came {late:.3f} s after it was due")
        seen = {tick["volume_traded"] for tick in ticks(fast)}
        strange = [tick for tick in live(slow) if tick["volume_traded"] not in seen]
        check(len(strange) <= conflated(fast), f"states that never were: {strange}")
    ok("a throttled tab is shown the latest state, and goes on being shown it")


async def batch(url):
    async with await Tab.open(url) as tab:
        wanted = {"tokens": [RELIANCE, INFY, NIFTY_50], "batch": True, "batch_size": 4}
        reply = await tab.ask("subscribed", action="subscribe", **wanted)
        check(reply["batch"] is True and reply["batch_size"] == 4, f"subscribed: {reply}")
        batch_, messages = await tab.until("batch")
        messages += [batch_, *await tab.listen(2.0)]
        batches = [message for message in messages if message.get("type") == "batch"]
        alone = live(messages)
        check(not alone, f"{len(batches)} batches and {len(alone)} lone ticks")
        sizes = [len(message["messages"]) for message in batches]
        inner = {message["type"] for batch_ in batches for message in batch_["messages"]}
        check(0 < min(sizes) and max(sizes) <= 4, f"batches of {min(sizes)} to {max(sizes)} messages, asked for 4")
        check(inner == {"tick"}, f"batches hold {inner}")
        ok(f"batches of at most batch_size messages ({len(sizes)} of them)")

    async with await Tab.open(url) as tab:
        await tab.ask("subscribed", action="subscribe", tokens=[RELIANCE], batch=True, batch_size=1000)
        batch_, _ = await tab.until("batch")
        check(0 < len(batch_["messages"]) < 1000, f"a batch of {len(batch_['messages'])} messages, asked for 1000")
        ok("a partial batch does not wait for ever")


async def packed(url):
    async with await Tab.open(url) as tab:
        reply = await tab.ask("subscribed", action="subscribe", tokens=[RELIANCE], format="msgpack")
        check(reply["format"] == "msgpack", f"format is {reply['format']}")
        messages = await live_ticks(tab, 1, 1.0)
        check(all(tick["binary"] for tick in messages), "ticks are not binary frames")
        tick = messages[-1]
        check(ALWAYS | QUOTE <= tick.keys(), f"a packed tick lacks {sorted((ALWAYS | QUOTE) - tick.keys())}")
        check(tick["token"] == RELIANCE and isinstance(tick["price"], float), f"packed: {tick}")
        ok("msgpack: binary frames with the same maps")


async def modes(url):
    for mode, present, absent in (("ltp", ALWAYS, FULL | {"ohlc", "total_buy_quantity"}),
                                  ("quote", ALWAYS | QUOTE, FULL),
                                  ("full", ALWAYS | QUOTE | FULL, set())):
        async with await Tab.open(url) as tab:
            await tab.ask("subscribed", action="subscribe", tokens=[RELIANCE], mode=mode)
            for tick in live(await live_ticks(tab, 1, 1.5)):
                check(present <= tick.keys(), f"{mode}: lacks {sorted(present - tick.keys())}")
                check(not absent & tick.keys(), f"{mode}: has {sorted(absent & tick.keys())}, nobody asked for it")
                check(tick.get("mode", mode) == mode, f"{mode}: says mode {tick['mode']}")
            if mode == "full":
                depth = tick["depth"]
                check(len(depth["buy"]) == len(depth["sell"]) == 5, f"depth: {depth}")
                check({"quantity", "price", "orders"} <= depth["buy"][0].keys(), f"depth row: {depth['buy'][0]}")
    ok("ltp, quote and full each have their fields and no more")

    async with await Tab.open(url) as poor, await Tab.open(url) as rich:
        await poor.ask("subscribed", action="subscribe", tokens=[RELIANCE], mode="ltp")
        await rich.ask("subscribed", action="subscribe", tokens=[RELIANCE], mode="full")
        await rich.collect(lambda messages: any("depth" in tick for tick in live(messages)), "depth in mode full")
        leaks = [tick for tick in await live_ticks(poor, 1, 1.0) if "ohlc" in tick]
        check(not leaks, f"another's mode leaks into this tab: {leaks[:1]}")
    ok("nobody is sent more than he asked for, whatever others want")

    async with await Tab.open(url) as tab:
        await tab.ask("subscribed", action="subscribe", tokens=[NIFTY_50], mode="full")
        index = (await live_ticks(tab, 1, 1.5))[-1]
        check(index["tradable"] is False and index["volume_traded"] == 0 and "depth" not in index, f"index: {index}")
    ok("an index has no volume and no depth")


async def main(url):
    checks = (subscribe_by_symbol, subscribe_by_token, replace, unsubscribe, requests, throttle, latest_wins, batch,
              packed, modes)
    for one in checks:
        await one(url)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--url", required=True, help="where the gateway serves, http://HOST:PORT")
    run(main(options.parse_args().url))
