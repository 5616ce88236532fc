// The load test's HTML page in a real browser: no complaint, nothing from outside, readable on any screen.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';
import { measurable, shared } from '../integration/lib/gateway.mjs';
import { run } from '../integration/lib/load.mjs';

const gateway = shared({ before, after });
const screens = [{ width: 1280, colorScheme: 'light' }, { width: 360, colorScheme: 'dark' }];
let browser, folder;
before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pushgate-report-'));
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
});
after(async () => { await browser?.close(); rmSync(folder, { recursive: true }); });

const plots = ['Connections', 'Handshakes per second', 'Memory', 'CPU, in cores'];
const ofMessages = ['Messages delivered per second', 'Latency, publish to frame', 'Latency over time'];
const modes = {
  idle: { options: { hold: '500ms' }, sees: plots },
  fanout: { options: { messages: 30, 'publish-rate': 30 }, sees: [...plots, ...ofMessages] },
  storm: { options: { hold: '600ms', 'publish-rate': 20 }, sees: [...plots, ...ofMessages, 'Storms'] },
  churn: { options: { hold: '1s', churn: '20%' }, sees: [...plots, ...ofMessages] },
  slow: { options: { hold: '600ms', slow: '20%' }, sees: [...plots, ...ofMessages, 'Slow connections'] },
};

for (const [mode, { options, sees }] of Object.entries(modes)) {
  test(`${mode}: the page opens without complaint and shows everything`, async () => {
    const report = join(folder, `${mode}.html`);
    const { code, text } = await run(mode, {
      target: `wss://127.0.0.1:${gateway().wss}/ws?topic=load`, insecure: true, connections: measurable ? 2000 : 100, report, 'gateway-pid': gateway().pid,
      ...(mode !== 'idle' && { publish: `127.0.0.1:${gateway().publish}` }), ...options,
    });
    assert.equal(code, 0, text);
    for (const { width, colorScheme } of screens) {
      const context = await browser.newContext({ viewport: { width, height: 800 }, colorScheme });
      const page = await context.newPage(), complaints = [];
      page.on('pageerror', error => complaints.push(String(error)));
      page.on('console', message => complaints.push(message.text()));
      page.on('request', request => { if (!/^(file|data):/.test(request.url())) complaints.push(`asks for ${request.url()}`); });
      await page.goto(pathToFileURL(report).href);
      for (const heading of sees) {
        const card = page.locator('section', { has: page.getByRole('heading', { name: heading, exact: true }) });
        assert.equal(await card.count(), 1, heading);
        const shapes = await card.locator('svg').evaluateAll(svgs => svgs.map(svg => svg.getBoundingClientRect().width > 0));
        if (shapes.length) assert.deepEqual(shapes, width > 700 ? [true, false] : [false, true], `${heading}: one shape for this screen`);
      }
      assert.equal(await page.locator('.verdict').innerText(), 'passed');
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `nothing is wider than ${width}`);
      const paper = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      assert.equal(paper, colorScheme === 'dark' ? 'rgb(18, 21, 27)' : 'rgb(246, 247, 249)');
      assert.deepEqual(complaints, []);
      await context.close();
    }
  });
}
