// The status page in a real browser, under load: what operators see, held against /status.json.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import WebSocket from 'ws';
import { Gateway, own, shared, until } from '../integration/lib/gateway.mjs';
import { chromiumFor, open } from './lib/chromium.mjs';

const gateway = shared({ before, after });
const browser = chromiumFor({ before, after });

/** The page, live; every request to another origin is kept in `foreign`. */
async function status(t, target, options = {}) {
  const foreign = [], address = `http://127.0.0.1:${target.admin}`;
  const watched = page => page.on('request', request => { if (!/^(data:|blob:)/.test(request.url()) && new URL(request.url()).host !== `127.0.0.1:${target.admin}`) foreign.push(request.url()); });
  const { page, complaints } = await open(t, browser(), `${address}/status`, { ...options, init: watched });
  await page.locator('#stream[data-state=good]').waitFor();
  return { page, complaints, foreign };
}

/** Subscribers and a steady stream of publications until the test ends. */
async function load(t, target, { subscribers = 60, topic = 'news' } = {}) {
  const sockets = [];
  for (let i = 0; i < subscribers; i++) {
    const socket = new WebSocket(`${i % 3 ? 'ws' : 'wss'}://127.0.0.1:${i % 3 ? target.ws : target.wss}/ws?topic=${topic}`, { ca: target.certificate.pem });
    socket.on('error', () => {});
    sockets.push(socket);
  }
  t.after(() => sockets.forEach(socket => socket.terminate()));
  await target.subscribed(topic, subscribers);
  const timer = setInterval(() => target.probe?.publish(topic, 'x'.repeat(200)).catch(() => {}), 10);
  t.after(() => clearInterval(timer));
  return sockets;
}

/** The number behind what stands in a table's row. */
const cell = (page, table, row, column = 0) => page.locator(`#${table} tr[data-name="${row}"] td`).nth(column).getAttribute('data-value').then(Number);
const measure = (page, key) => page.locator(`[data-series=${key}]`).getAttribute('data-value').then(Number);

describe('status page', () => {
  test('shows under load what /status.json tells, moves, and asks nobody else', async t => {
    const { page, complaints, foreign } = await status(t, gateway());
    const sockets = await load(t, gateway());
    await until('connections show', async () => (await measure(page, 'connections')) === sockets.length);
    await until('deliveries show', async () => (await measure(page, 'deliveries')) > 1000, 10000);
    const json = await (await gateway().get('/status.json')).json();
    assert.equal(await cell(page, 'by-transport', 'ws'), json.connections.by_transport.ws);
    assert.equal(await cell(page, 'by-transport', 'wss'), json.connections.by_transport.wss);
    assert.equal(await cell(page, 'by-adapter', 'raw'), sockets.length);
    assert.equal(await cell(page, 'by-reactor', 'reactor 0') + await cell(page, 'by-reactor', 'reactor 1'), sockets.length);
    assert.equal(await cell(page, 'top-subscribers', 'news'), sockets.length);
    const near = (a, b) => Math.abs(a - b) <= 0.5 * Math.max(a, b);
    await until('the page has what /status.json has, moving as it is', async () => {
      const { rates, memory, totals } = await (await gateway().get('/status.json')).json();
      return near(await measure(page, 'deliveries'), rates.deliveries) && near(await measure(page, 'resident_bytes'), memory.resident_bytes)
        && near(await cell(page, 'totals', 'Deliveries'), totals.deliveries);
    }, 10000);
    assert.match(await page.locator('#totals tr[data-name="Deliveries"] td').innerText(), /^\d{1,3}(,\d{3})+$/, 'with thousands separated');
    assert.match(await page.locator('#phase').innerText(), /Running/);
    assert.match(await page.locator('#certificates').innerText(), /soon: 1\sd 2\d\sh/);
    const earlier = await cell(page, 'totals', 'Deliveries');
    await until('the figures move', async () => (await cell(page, 'totals', 'Deliveries')) > earlier);
    await until('the plots are drawn', async () => (await page.locator('.line-0').nth(3).getAttribute('d'))?.includes('L'));
    sockets.slice(0, 20).forEach(socket => socket.close());
    await until('closes show with their reason', async () => (await page.locator('#closes').innerText()).includes('peer closed'));
    assert.deepEqual(complaints, []);
    assert.deepEqual(foreign, []);
  });

  test('scripts of others are not run: the policy forbids what the page does not need', async t => {
    const { page } = await status(t, gateway());
    const policy = (await gateway().get('/status')).headers.get('content-security-policy');
    assert.doesNotMatch(policy, /unsafe|\*/);
    const ran = await page.evaluate(() => {
      const script = document.createElement('script');
      script.textContent = 'window.injected = true';
      document.body.append(script);
      document.body.insertAdjacentHTML('beforeend', '<p id="inline" style="position: fixed">x</p>');
      return [window.injected === true, getComputedStyle(document.getElementById('inline')).position];
    });
    assert.deepEqual(ran, [false, 'static']);
  });

  for (const width of [320, 1280])
    for (const colorScheme of ['light', 'dark'])
      test(`${width} pixels wide, ${colorScheme}: nothing is wider than the screen, and text can be read`, async t => {
        const { page, complaints } = await status(t, gateway(), { viewport: { width, height: 800 }, colorScheme });
        await load(t, gateway(), { subscribers: 9, topic: `a-topic-with-a-long-name-that-does-not-break:${width}:${colorScheme}:${'0123456789'.repeat(8)}` });
        await page.locator('#top-subscribers tr').first().waitFor();
        assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'no horizontal scrolling');
        // WCAG: contrast of every text against what is behind it.
        const faint = await page.evaluate(() => {
          const channel = c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
          const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
          const colour = text => text.match(/[\d.]+/g).map(Number);
          const found = [];
          for (const element of document.querySelectorAll('h1, h2, p, dt, dd, th, td, caption, span, a')) {
            if (!element.checkVisibility() || !element.textContent.trim()) continue;
            let behind = element;
            while (behind && (colour(getComputedStyle(behind).backgroundColor)[3] ?? 1) === 0) behind = behind.parentElement;
            const a = light(colour(getComputedStyle(element).color)), b = light(colour(getComputedStyle(behind ?? document.body).backgroundColor));
            const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            if (contrast < 4.5) found.push(`${element.textContent.slice(0, 30)}: ${contrast.toFixed(2)}`);
          }
          return found;
        });
        assert.deepEqual(faint, []);
        assert.deepEqual(complaints, []);
        if (process.env.STATUS_SHOTS) await page.screenshot({ path: `${process.env.STATUS_SHOTS}/status-${width}-${colorScheme}.png`, fullPage: true });
      });

  test('a plot tells its past by pointer and by keyboard, and says in words what it shows', async t => {
    const { page } = await status(t, gateway());
    const chart = page.locator('.chart').first();
    await until('it has a label', async () => /^open: now [\d,]+, least/.test(await chart.getAttribute('aria-label')));
    await chart.hover();
    await page.locator('.when').first().getByText(/ago/).waitFor();
    await chart.focus();
    await page.keyboard.press('PageUp');
    await page.locator('.when').first().getByText(/ago/).waitFor();
    await page.keyboard.press('Escape');
    assert.equal(await page.locator('.when').first().innerText(), '');
  });

  test('it says that the stream is lost, what it shows then, and comes back after a restart', async t => {
    const target = await own(t);
    const { page, complaints } = await status(t, target);
    const first = await page.locator('[data-field=pid]').innerText();
    target.process.kill('SIGKILL');
    await target.ended;
    await page.getByText('What stands below is of').waitFor();
    await page.locator('#stream[data-state=bad]').waitFor();
    await page.getByText(/cannot be reached/).waitFor();
    assert.ok(await page.locator('#now').isVisible());
    await target.restart();
    await page.locator('#stream[data-state=good]').waitFor();
    await until('it is the new process', async () => (await page.locator('[data-field=pid]').innerText()) !== first);
    assert.ok(!(await page.locator('#stale').isVisible()));
    assert.deepEqual(complaints, []);
  });

  test('a stop shows while it is under way', async t => {
    const target = await own(t, { 'drain.grace': '3s', 'drain.timeout': '1s' });
    const { page } = await status(t, target);
    target.process.kill('SIGTERM');
    await page.locator('#drain').waitFor();
    assert.match(await page.locator('#phase').innerText(), /Stopping/);
    await page.locator('#stream[data-state=bad]').waitFor({ timeout: 15000 });
    await target.ended;
  });

  test('with a password the browser is asked, and then the stream opens', async t => {
    const target = await Gateway.start({ 'admin.password': 'correct horse battery' });
    t.after(() => target.stop());
    const refused = await open(t, browser(), `http://127.0.0.1:${target.admin}/healthz`);
    assert.equal((await refused.page.goto(`http://127.0.0.1:${target.admin}/status`).catch(() => null))?.status() ?? 401, 401);
    const { page, complaints } = await status(t, target, { httpCredentials: { username: 'ops', password: 'correct horse battery' } });
    await until('it moves', async () => (await page.locator('#uptime').innerText()) !== '');
    assert.deepEqual(complaints, []);
  });
});
