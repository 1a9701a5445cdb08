// Single sign-on as people use it: headless Chromium, a real provider and a running DeepTrace. Told line by
// line who logs in and what they are then, or that nobody can.
// Usage: node tests/oidc.mjs http://127.0.0.1:7901 [folder for screenshots]
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import readline from 'node:readline';

import { chromium } from 'playwright-core';

const [, , base, pictures] = process.argv;
if (!base) throw new Error('usage: node tests/oidc.mjs URL [FOLDER]');
if (pictures) mkdirSync(pictures, { recursive: true });

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});

/** The login form of a browser that was never here. */
async function fresh() {
  const context = await browser.newContext({ viewport: { width: 1200, height: 760 }, colorScheme: 'light' });
  const page = await context.newPage();
  // The provider's pages want fonts from elsewhere.
  await page.route((url) => url.hostname !== '127.0.0.1', (route) => route.abort());
  await page.goto(`${base}/#/alerts`);
  await page.waitForSelector('#oidc');
  return page;
}
const picture = (page, name) => pictures && page.screenshot({ path: join(pictures, `${name}.png`) });

/** To the provider and back, as `name`. */
async function signOn(page, name) {
  await page.click('#oidc');
  await page.waitForSelector('input[name=login]');
  await page.fill('input[name=login]', name);
  await page.fill('input[name=password]', 'any');
  await page.click('button[type=submit]');
  // It asks whether we may know who that is.
  await page.waitForSelector('form[action*=confirm], form button:has-text("Continue")');
  await page.click('button[type=submit]');
}

const commands = {
  /** `in NAME ROLE`: they are let in, where they wanted to go, and can leave. */
  async in(name, role) {
    const page = await fresh();
    await picture(page, 'oidc-login');
    await signOn(page, name);
    const who = page.locator(`header span[title="role ${role}"]`);
    await who.waitFor();
    assert.equal(await who.textContent(), `${name} of the shop`);
    assert.equal(page.url(), `${base}/#/alerts`);
    await page.waitForSelector('text=Log out');
    await picture(page, `oidc-${name}`);
    const cookies = await page.context().cookies();
    const session = cookies.find((cookie) => cookie.name === 'deeptrace_session');
    assert.ok(session.httpOnly && session.sameSite === 'Strict');
    assert.ok(!cookies.some((cookie) => cookie.name === 'deeptrace_login'));
    // The session is kept by the browser, and no code is left to be used again.
    await page.reload();
    await who.waitFor();
    await page.click('text=Log out');
    await page.waitForSelector('#oidc');
  },
  /** `out NAME WORDS…`: they come back and are told why not. */
  async out(name, ...words) {
    const page = await fresh();
    await signOn(page, name);
    await page.locator('[role=alert]', { hasText: words.join(' ') }).waitFor();
    assert.equal(page.url(), `${base}/#/alerts`);
    await picture(page, 'oidc-refused');
  },
  /** `away NAME PASSWORD`: the provider is, which is said, and a password is as good as ever. */
  async away(name, password) {
    const page = await fresh();
    await page.click('#oidc');
    await page.locator('[role=alert]', { hasText: 'cannot be used now' }).waitFor();
    await picture(page, 'oidc-away');
    await page.fill('#name', name);
    await page.fill('#password', password);
    await page.click('button.primary');
    await page.waitForSelector('text=Log out');
  },
  /** `end`: nothing is left to do. */
  async end() {
    await browser.close();
  },
};

console.log('ok');
for await (const line of readline.createInterface({ input: process.stdin })) {
  const [command, ...words] = line.split(' ');
  try {
    await commands[command](...words);
    console.log('ok');
  } catch (error) {
    console.log(`error ${String(error.message).replaceAll('\n', ' ')}`);
  }
}
