// Every view in a browser, on the demo.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { browser, Lagline, overflows, tab } from "./stage.mjs";

let demo, chromium, page;

before(async () => {
  [demo, chromium] = await Promise.all([Lagline.demo(), browser()]);
});
after(async () => {
  await chromium?.close();
  await demo?.end();
});
afterEach(async () => {
  const wrong = page?.wrong ?? [];
  await page?.context().close();
  page = undefined;
  assert.deepEqual(wrong, []);
});

const rows = () => page.locator("table.groups tbody tr[data-group]");

test("the overview lists the worst group first, with its reason", async () => {
  page = await tab(chromium, demo);
  await page.open();
  await rows().first().waitFor();
  const { groups, total } = await demo.get("/api/v1/groups");
  assert.equal(await rows().count(), total);
  const first = rows().first();
  assert.equal(await first.getAttribute("data-group"), groups[0].group);
  assert.match(await first.innerText(), /ERR/);
  assert.match(await first.innerText(), /STOP|REWIND|STALL/);
});

test("a hostile name is shown as it is, and is not HTML", async () => {
  page = await tab(chromium, demo);
  await page.open("#/?search=onerror");
  await rows().first().waitFor();
  assert.equal(await rows().count(), 1);
  const link = rows().first().locator("a");
  assert.match(await link.textContent(), /<img src=x onerror=alert\(1\)>/);
  assert.equal(await page.locator("img").count(), 0);
  await link.click();
  await page.locator(".band").first().waitFor();
  assert.match(await page.locator("h1").textContent(), /<img src=x onerror=alert\(1\)>/);
  assert.equal(await page.locator("img").count(), 0);
});

test("400 px are enough", async () => {
  page = await tab(chromium, demo, { viewport: { width: 400, height: 800 } });
  await page.open();
  await rows().first().waitFor();
  assert.equal(await overflows(page), false);
});
