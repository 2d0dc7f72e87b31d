// The page in a real browser: it must connect by itself and show prices that move, without a word on the console.

import { createRequire } from "node:module";
import { parseArgs } from "node:util";

const { chromium } = createRequire(import.meta.url)("playwright-core");

/** After which what has not come is a failure. Only ever spent by a test that fails. */
const PATIENCE_MS = 30_000;

const { values: options } = parseArgs({
  options: {
    url: { type: "string" },
    screenshot: { type: "string" },
    chromium: { type: "string", default: "/usr/bin/chromium" },
  },
});
if (!options.url) fail("--url http://HOST:PORT is missing");

function fail(message) {
  console.error(`not ok - ${message}`);
  process.exit(1);
}

function ok(message) {
  console.log(`ok - ${message}`);
}

const browser = await chromium.launch({
  executablePath: options.chromium,
  timeout: 2 * PATIENCE_MS,
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
});
const complaints = [];
/** Pages that were closed: what they had asked for fails then, which is no complaint. */
const left = new Set();

async function open(settings) {
  const page = await browser.newPage(settings);
  page.setDefaultTimeout(PATIENCE_MS);
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("requestfailed", (request) => {
    if (!left.has(page)) complaints.push(`${request.url()}: ${request.failure()?.errorText}`);
  });
  await page.goto(`${options.url}/`);
  return page;
}

async function close(page) {
  left.add(page);
  await page.close();
}

/** Waits until the cell's text has changed `times` times from a first price. */
async function moves(page, symbol, times) {
  const cell = page.locator(`[data-price="${symbol}"]`);
  await cell.waitFor();
  const seen = new Set();
  for (const end = Date.now() + PATIENCE_MS; Date.now() < end && seen.size <= times; await page.waitForTimeout(20)) {
    const text = await cell.textContent();
    if (/\d/.test(text)) seen.add(text);
  }
  if (seen.size <= times) fail(`the price of ${symbol} did not change ${times} times: ${[...seen].join(" ")}`);
}

try {
  const page = await open({ viewport: { width: 1100, height: 800 } });
  await moves(page, "RELIANCE", 2);
  ok("the page connects by itself and its prices move");

  await page.getByRole("button", { name: "RELIANCE", exact: true }).click();
  await page.locator(".depth tbody tr").nth(4).waitFor();
  ok("a click opens the order book");
  if (options.screenshot) await page.screenshot({ path: options.screenshot, fullPage: true });

  const search = page.getByRole("combobox", { name: "Add an instrument" });
  await page.getByRole("button", { name: "Remove RELIANCE" }).click();
  await search.fill("RELIANCE");
  await page.locator("#found-0").waitFor();
  await page.locator("#found li").filter({ has: page.getByText("RELIANCE", { exact: true }) }).first().click();
  await moves(page, "RELIANCE", 1);
  ok("an instrument can be removed, found and added again");
  await close(page);

  const phone = await open({ viewport: { width: 360, height: 740 }, colorScheme: "dark", hasTouch: true });
  await moves(phone, "RELIANCE", 1);
  await phone.getByRole("button", { name: "RELIANCE", exact: true }).click();
  await phone.locator(".depth tbody tr").nth(4).waitFor();
  const [width, room] = await phone.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  if (width > room) fail(`on a phone the page is ${width} pixels wide, the screen ${room}`);
  const path = options.screenshot?.replace(/(\.png)?$/, "-phone.png");
  if (path) await phone.screenshot({ path, fullPage: true });
  ok("it fits a phone");
  await close(phone);

  if (complaints.length) fail(`the console says: ${complaints.join(" | ")}`);
  ok("nothing was said on the console");
} catch (error) {
  fail(`${error.message.split("\n")[0]}${complaints.length ? `; the console says: ${complaints.join(" | ")}` : ""}`);
} finally {
  await browser.close();
}
