// The page as people use it: headless Chromium against a running DeepTrace whose store was filled
// by a real run. Usage: node tests/page.mjs http://127.0.0.1:7901 [folder for screenshots]
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

import { chromium } from 'playwright-core';

import { reportLarge } from './large.mjs';

const [, , base, pictures] = process.argv;
if (!base) throw new Error('usage: node tests/page.mjs URL [FOLDER]');
if (pictures) mkdirSync(pictures, { recursive: true });

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const context = await browser.newContext({ viewport: { width: 1440, height: 860 }, colorScheme: 'light' });
const page = await context.newPage();
const foreign = [];
const failures = [];
page.on('request', (request) => {
  if (!request.url().startsWith(base) && !request.url().startsWith(base.replace('http', 'ws'))) foreign.push(request.url());
});
page.on('pageerror', (error) => failures.push(String(error)));
page.on('console', (message) => message.type() === 'error' && failures.push(message.text()));

let passed = 0;
async function check(what, run) {
  try {
    await run();
    passed += 1;
    console.log(`ok   ${what}`);
  } catch (error) {
    if (pictures) await page.screenshot({ path: join(pictures, 'failed.png') });
    console.log(`FAIL ${what}\n     ${error.message}`);
    await browser.close();
    process.exit(1);
  }
}
const picture = (name) => pictures && page.screenshot({ path: join(pictures, `${name}.png`) });
const ask = async (path) => (await fetch(new URL(path, base))).json();
/** Rows of the trace that is shown, also those outside of the window. */
const rowCount = () => page.evaluate(() => document.querySelector('.list').offsetHeight / document.querySelector('.row').offsetHeight);
const untilRows = (n) => page.waitForFunction((n) => document.querySelector('.list').offsetHeight / document.querySelector('.row').offsetHeight === n, n);
const selected = (id) => page.waitForSelector(`[aria-selected=true][id="${id}"]`);

// The trace with the most services shows the most; a host has many of one span beside it.
const { traces } = await ask('/traces?limit=500&start=-24h&min_spans=3');
assert.ok(traces.length > 0, 'no trace has three spans: this test needs a real run before it');
const rich = traces.reduce((best, t) => (t.services.length > best.services.length ? t : best));

await check('search lists traces', async () => {
  await page.goto(`${base}/#/?start=-24h`);
  await page.waitForSelector('tbody tr');
  assert.ok((await page.locator('tbody tr').count()) >= Math.min(50, traces.length));
  await picture('search');
});

await check('search narrows by service and by duration', async () => {
  await page.selectOption('#service', rich.service);
  await page.waitForFunction((name) => location.hash.includes(`service=${encodeURIComponent(name)}`), rich.service);
  await page.waitForSelector('tbody tr');
  await page.fill('#min', '1h');
  await page.press('#min', 'Enter');
  await page.waitForSelector('text=No traces match.');
  await page.goto(`${base}/#/?start=-24h`);
});

await check('search leaves out traces of few spans', async () => {
  await page.fill('#spans', '3');
  await page.press('#spans', 'Enter');
  await page.waitForFunction(() => location.hash.includes('min_spans=3'));
  await page.waitForFunction(() => {
    const counts = [...document.querySelectorAll('tbody td.number')].map((cell) => Number(cell.textContent));
    return counts.length > 0 && counts.every((count) => count >= 3);
  });
});

await check('errors only lists traces with errors', async () => {
  await page.goto(`${base}/#/?start=-24h&errors=true`);
  // What was listed before is there until the answer comes.
  await page.waitForFunction(() => {
    const rows = [...document.querySelectorAll('tbody tr')];
    const marked = rows.filter((row) => row.querySelector('.badge.error'));
    return document.querySelector('.empty') || (rows.length > 0 && marked.length === rows.length);
  });
});

await check('a trace is drawn as a waterfall, one row a span', async () => {
  await page.goto(`${base}/#/trace/${rich.trace_id}`);
  await page.waitForSelector('[role=treeitem]');
  const { spans } = await ask(`/traces/${rich.trace_id}`);
  assert.equal(await rowCount(), spans.length);
  const bars = await page.locator('.lane .span').evaluateAll((all) => all.map((bar) => bar.getBoundingClientRect().right));
  const lane = await page.locator('.lane').first().evaluate((e) => e.getBoundingClientRect().right);
  assert.ok(bars.every((right) => right <= lane + 3), 'a bar leaves its lane');
});

await check('a span says why this is its parent', async () => {
  await page.locator('[role=treeitem]').nth(1).click();
  await page.waitForSelector('aside >> text=Why this is its parent');
  await page.waitForSelector('aside .why dt:has-text("confidence")');
  await picture('trace');
});

await check('keyboard: next, collapse, close, help', async () => {
  // The page answers a key in its own time; each step waits for what must come.
  const ids = await page.locator('[role=treeitem]').evaluateAll((rows) => rows.map((row) => row.id));
  const all = await rowCount();
  await selected(ids[1]);
  await page.keyboard.press('j');
  await selected(ids[2]);
  await page.keyboard.press('k');
  await selected(ids[1]);
  await page.keyboard.press('k');
  await selected(ids[0]);
  await page.keyboard.press('ArrowLeft');
  await untilRows(1);
  await page.keyboard.press('ArrowRight');
  await untilRows(all);
  await page.keyboard.press('Escape');
  await page.waitForSelector('aside', { state: 'detached' });
  await page.keyboard.press('?');
  await page.waitForSelector('[role=dialog]');
  await page.keyboard.press('?');
});

await check('the address names the span, and opens it', async () => {
  await page.locator('[role=treeitem]').nth(2).click();
  const id = await page.locator('[role=treeitem]').nth(2).getAttribute('id');
  await page.waitForFunction((id) => location.hash.endsWith(`?span=${id.slice('row-'.length)}`), id);
  const other = await context.newPage();
  await other.goto(page.url());
  await other.waitForSelector(`[aria-selected=true][id="${id}"]`);
  await other.waitForSelector('aside');
  assert.equal(await other.title(), `${rich.service} ${rich.name} – DeepTrace`);
  // Opened by its address there is nothing to go back to but the search.
  await other.keyboard.press('Escape');
  await other.waitForSelector('aside', { state: 'detached' });
  await other.keyboard.press('Escape');
  await other.waitForSelector('form[aria-label="search traces"]');
  await other.close();
});

await check('light and dark', async () => {
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  await page.keyboard.press('t');
  assert.notEqual(await ground(), light);
  await page.locator('[role=treeitem]').nth(1).click();
  await picture('trace-dark');
  await page.keyboard.press('t');
});

const large = await reportLarge(base);
await check('of a large trace only the rows in the window are in the page', async () => {
  await page.goto(`${base}/#/trace/${large.traceId}`);
  await page.waitForSelector('[role=treeitem]');
  assert.equal(await rowCount(), large.count);
  const drawn = () => page.locator('[role=treeitem]').count();
  assert.ok((await drawn()) < 100, `${await drawn()} rows`);
  assert.equal(await page.locator('[role=treeitem][tabindex="0"]').count(), 1, 'one row is a tab stop');
  await page.keyboard.press('j');
  await page.waitForSelector('[aria-selected=true]');
  await page.keyboard.press('End');
  await page.waitForFunction(() => document.activeElement?.matches('[aria-selected=true][aria-posinset="8"]'));
  const seen = await page.evaluate(() => document.activeElement.getBoundingClientRect().bottom <= innerHeight);
  assert.ok(seen, 'the last row is in the window');
  assert.equal(await page.locator('.scale').evaluate((scale) => scale.getBoundingClientRect().top), 0, 'the scale stays above');
  assert.ok((await drawn()) < 100, `${await drawn()} rows at the end`);
  await picture('large');
  await page.keyboard.press('Home');
  await page.waitForSelector('[aria-selected=true][aria-level="1"]');
  await page.keyboard.press('ArrowLeft');
  await untilRows(1);
});

await check('what is collapsed or far below is found in the trace', async () => {
  await page.keyboard.press('f');
  await page.keyboard.type('select 499.');
  await page.waitForSelector('[role=status]:has-text("8 spans")');
  await page.keyboard.press('Enter');
  await page.waitForSelector('[aria-selected=true] >> text=SELECT 499.0');
  await page.keyboard.press('Enter');
  await page.waitForSelector('[aria-selected=true] >> text=SELECT 499.1');
  await page.waitForSelector('aside h2:has-text("SELECT 499.1")');
  assert.equal(await rowCount(), large.count);
});

await check('an unknown trace gets a clear message', async () => {
  await page.goto(`${base}/#/trace/${'0'.repeat(31)}1`);
  await page.waitForSelector('[role=alert]');
  failures.splice(0, failures.length, ...failures.filter((text) => !text.includes('404')));
});

await check('an address that leads nowhere says so', async () => {
  for (const hash of ['#/nope', '#/trace/zz']) {
    await page.goto(`${base}/${hash}`);
    await page.waitForSelector(`[role=alert]:has-text("${hash.split('/').pop()}")`);
    assert.equal(await page.title(), 'No such page – DeepTrace');
  }
  await page.click('text=Search traces');
  await page.waitForSelector('form[aria-label="search traces"]');
});

await check('a narrow window holds every view', async () => {
  const small = await browser.newContext({ viewport: { width: 420, height: 860 } });
  const phone = await small.newPage();
  for (const view of ['', 'live', 'map', 'alerts', 'nope', `trace/${rich.trace_id}`]) {
    await phone.goto(`${base}/#/${view}`);
    await phone.waitForSelector({ '': 'tbody tr', map: '.map svg', alerts: 'main > *' }[view] ?? '[role=status], [role=alert], [role=treeitem]');
    assert.ok((await phone.evaluate(() => document.documentElement.scrollWidth)) <= 420, `#/${view} is wider than the window`);
    const right = await phone.locator('header button').last().evaluate((button) => button.getBoundingClientRect().right);
    assert.ok(right <= 420, `the buttons of #/${view} are outside of the window`);
  }
  await phone.waitForSelector('[role=treeitem]');
  await phone.locator('[role=treeitem]').nth(1).click();
  const panel = await phone.locator('aside').boundingBox();
  assert.deepEqual([panel.x, panel.y, panel.width, panel.height], [0, 0, 420, 860]);
  if (pictures) await phone.screenshot({ path: join(pictures, 'narrow-panel.png') });
  await phone.click('aside [aria-label=close]');
  await phone.waitForSelector('aside', { state: 'detached' });
  if (pictures) await phone.screenshot({ path: join(pictures, 'narrow.png') });
  await small.close();
});

await check('the live list connects', async () => {
  await page.goto(`${base}/#/live`);
  await page.waitForSelector('[role=status]:has-text("connected")');
});

await check('nothing was asked of another host, no error in the console', async () => {
  assert.deepEqual(foreign, []);
  assert.deepEqual(failures, []);
});

await browser.close();
console.log(`${passed} passed, 0 failed`);
