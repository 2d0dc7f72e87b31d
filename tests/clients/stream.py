"""The tick stream, request by request, with an independent client library.

Every check opens connections of its own, so that each can be read and fail alone.
"""

import argparse
import asyncio
import time

from tab import Tab, check, ok, run, ticks

RELIANCE = "738561"
INFY = "408065"
NIFTY_50 = "256265"

ALWAYS = {"type", "token", "price", "timestamp", "volume_traded"}
QUOTE = {"last_price", "last_traded_quantity", "average_traded_price", "total_buy_quantity", "total_sell_quantity",
         "ohlc", "change", "mode", "tradable"}
FULL = {"oi", "oi_day_high", "oi_day_low", "exchange_timestamp", "last_trade_time", "depth"}


async def subscribe_by_symbol(url):
    async with await Tab.open(url) as tab:
        begin = time.monotonic()
        reply = await tab.ask("subscribed", action="subscribe", symbols=["RELIANCE", "NO-SUCH-SYMBOL"])
        for field, expected in {
            "tokens": [RELIANCE], "unknown_symbols": ["NO-SUCH-SYMBOL"], "timeframes": [], "throttle_ms": 0,
            "batch": False, "batch_size": 1, "format": "json",
        }.items():
            check(reply.get(field) == expected, f"subscribed: {field} is {reply.get(field)!r}, not {expected!r}")
        check("RELIANCE" in reply.get("symbols", []), f"subscribed: symbols are {reply.get('symbols')!r}")
        ok("subscribe by symbol is answered as documented, with the unknown symbol named")

        first, _ = await tab.until("tick", 1.0)
        check(first["token"] == RELIANCE and first.get("snapshot") is True, f"the first tick is no snapshot: {first}")
        check(first["at"] - begin < 1.0, "the snapshot took a second")
        ok("the snapshot comes at once")

        rest = ticks(await tab.listen(2.0))
        check(len(rest) >= 2, f"only {len(rest)} ticks in 2 s")
        strangers = {tick["token"] for tick in rest} - {RELIANCE}
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
        seen = {tick["token"] for tick in ticks(await tab.listen(1.0))}
        check(seen == set(reply["tokens"]), f"ticks of {seen}, asked for {reply['tokens']}")
        ok("tokens as strings and as integers, symbols with their exchange")


async def replace(url):
    async with await Tab.open(url) as tab:
        await tab.ask("subscribed", action="subscribe", tokens=[RELIANCE, INFY])
        await tab.listen(0.5)
        reply = await tab.ask("subscribed", action="subscribe", tokens=[NIFTY_50])
        check(reply["tokens"] == [NIFTY_50], f"tokens are {reply['tokens']}")
        seen = {tick["token"] for tick in ticks(await tab.listen(1.5))}
        check(seen == {NIFTY_50}, f"after the second subscribe came {seen}")
        ok("a second subscribe replaces the first")


async def unsubscribe(url):
    async with await Tab.open(url) as tab:
        await tab.ask("subscribed", action="subscribe", tokens=[RELIANCE, INFY])
        reply = await tab.ask("unsubscribed", action="unsubscribe", tokens=[RELIANCE])
        check(reply["tokens"] == [RELIANCE], f"unsubscribed: tokens are {reply['tokens']}")
        seen = {tick["token"] for tick in ticks(await tab.listen(1.5))}
        check(seen == {INFY}, f"after the unsubscribe came {seen}")
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
    interval = 0.4
    async with await Tab.open(url) as tab:
        reply = await tab.ask("subscribed", action="subscribe", tokens=[RELIANCE, INFY], throttle_ms=400)
        check(reply["throttle_ms"] == 400, f"throttle_ms is {reply['throttle_ms']}")
        messages = ticks(await tab.listen(3.0))
        for token in (RELIANCE, INFY):
            times = [tick["at"] for tick in messages if tick["token"] == token and not tick.get("snapshot")]
            check(len(times) >= 3, f"only {len(times)} ticks of {token} in 3 s")
            # Arrival is later than departure by a varying delay, so a single gap may look shorter than it was.
            gaps = [after - before for before, after in zip(times, times[1:])]
            check(min(gaps) > interval * 0.75, f"{token}: ticks {min(gaps):.3f} s apart, throttled to {interval}")
            check(len(times) <= 3.0 / interval + 2, f"{token}: {len(times)} ticks in 3 s")
        ok("throttle_ms spaces the ticks of each token")


async def latest_wins(url):
    """What a throttled tab shows must be the latest state at that moment, as a tab without throttle sees it."""
    slack = 0.15
    async with await Tab.open(url) as free, await Tab.open(url) as throttled:
        await free.ask("subscribed", action="subscribe", tokens=[RELIANCE])
        await throttled.ask("subscribed", action="subscribe", tokens=[RELIANCE], throttle_ms=700)
        fast, slow = await asyncio.gather(free.listen(4.0), throttled.listen(4.0))
        fast, slow = ticks(fast), [tick for tick in ticks(slow) if not tick.get("snapshot")]
        check(len(slow) >= 3, f"only {len(slow)} throttled ticks in 4 s")
        seen = {tick["volume_traded"] for tick in fast}
        for tick in slow:
            known = max((one["volume_traded"] for one in fast if one["at"] < tick["at"] - slack), default=0)
            check(tick["volume_traded"] >= known, f"a throttled tick shows volume {tick['volume_traded']}, long {known}")
            check(tick["volume_traded"] in seen or tick is slow[-1], f"a state that never was: {tick}")
        silence = slow[-1]["at"] - slow[0]["at"]
        check(silence > 4.0 - 2 * 0.7 - 2 * slack - 0.7, f"throttled ticks stop: the last {silence:.2f} s after the first")
    ok("a throttled tab is shown the latest state, and goes on being shown it")


async def batch(url):
    async with await Tab.open(url) as tab:
        reply = await tab.ask("subscribed", action="subscribe", tokens=[RELIANCE, INFY, NIFTY_50], batch=True, batch_size=4)
        check(reply["batch"] is True and reply["batch_size"] == 4, f"subscribed: {reply}")
        messages = [message for message in await tab.listen(2.0) if message.get("type") not in {"heartbeat"}]
        batches = [message for message in messages if message.get("type") == "batch"]
        alone = [message for message in ticks(messages) if not message.get("snapshot")]
        check(batches and not alone, f"{len(batches)} batches and {len(alone)} lone ticks")
        sizes = [len(message["messages"]) for message in batches]
        inner = {message["type"] for batch_ in batches for message in batch_["messages"]}
        check(0 < min(sizes) and max(sizes) <= 4, f"batches of {min(sizes)} to {max(sizes)} messages, asked for 4")
        check(inner == {"tick"}, f"batches hold {inner}")
        ok(f"batches of at most batch_size messages ({len(sizes)} of them)")

    async with await Tab.open(url) as tab:
        await tab.ask("subscribed", action="subscribe", tokens=[RELIANCE], batch=True, batch_size=1000)
        await tab.until("batch", 3.0)
        ok("a partial batch does not wait for ever")


async def packed(url):
    async with await Tab.open(url) as tab:
        reply = await tab.ask("subscribed", action="subscribe", tokens=[RELIANCE], format="msgpack")
        check(reply["format"] == "msgpack", f"format is {reply['format']}")
        messages = ticks(await tab.listen(1.0))
        check(messages and all(tick["binary"] for tick in messages), "ticks are not binary frames")
        tick = messages[-1]
        check(ALWAYS | QUOTE <= tick.keys(), f"a packed tick lacks {sorted((ALWAYS | QUOTE) - tick.keys())}")
        check(tick["token"] == RELIANCE and isinstance(tick["price"], float), f"packed: {tick}")
        ok("msgpack: binary frames with the same maps")


async def modes(url):
    for mode, present, absent in (("ltp", ALWAYS, FULL | {"ohlc", "total_buy_quantity"}), ("quote", ALWAYS | QUOTE, FULL),
                                  ("full", ALWAYS | QUOTE | FULL, set())):
        async with await Tab.open(url) as tab:
            await tab.ask("subscribed", action="subscribe", tokens=[RELIANCE], mode=mode)
            messages = [tick for tick in ticks(await tab.listen(1.5)) if not tick.get("snapshot")]
            check(messages, f"no ticks in mode {mode}")
            tick = messages[-1]
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
        check(any("depth" in tick for tick in ticks(await rich.listen(1.0))), "no depth in mode full")
        check(not any("ohlc" in tick for tick in ticks(await poor.listen(1.0))), "another's mode leaks into this tab")
    ok("nobody is sent more than he asked for, whatever others want")

    async with await Tab.open(url) as tab:
        await tab.ask("subscribed", action="subscribe", tokens=[NIFTY_50], mode="full")
        index = ticks(await tab.listen(1.5))[-1]
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
