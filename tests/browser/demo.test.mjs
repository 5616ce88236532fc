// The demo page in a real browser, over wss: what people see in their first minute.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { shared } from '../integration/lib/gateway.mjs';
import { chromiumFor, open } from './lib/chromium.mjs';

const gateway = shared({ before, after });
const browser = chromiumFor({ before, after });

/** The page, connected to `topic`; every complaint of the browser is a failure. */
async function demo(t, topic, options) {
  const { page, complaints } = await open(t, browser(), `https://127.0.0.1:${gateway().wss}/#${encodeURIComponent(topic)}`, options);
  await page.locator('#state[data-state=open]').waitFor();
  return { page, complaints };
}

describe('demo page', () => {
  test('a message that redis-cli publishes shows, as text and not as markup', async t => {
    const { page, complaints } = await demo(t, 'news');
    await gateway().subscribed('news');
    const out = execFileSync('redis-cli', ['-p', String(gateway().publish), 'publish', 'news', '<b>hello</b> wörld']);
    assert.equal(String(out).trim(), '1');
    await page.locator('#messages li').first().waitFor();
    assert.equal(await page.locator('#messages li .text').innerText(), '<b>hello</b> wörld');
    assert.match(await page.locator('#messages li .meta').innerText(), /19 bytes/);
    assert.equal(await page.locator('#messages b').count(), 0);
    assert.deepEqual(complaints, []);
  });

  test('what the page publishes shows on every page of that topic, and it says how many it reached', async t => {
    const one = await demo(t, 'shared topic'), two = await demo(t, 'shared topic');
    await gateway().subscribed('shared topic', 2);
    await one.page.fill('#message', 'from the page');
    await one.page.press('#message', 'Enter');
    for (const { page } of [one, two]) assert.equal(await page.locator('#messages li .text').innerText(), 'from the page');
    await one.page.getByText('Queued to 2 connections.').waitFor();
    assert.deepEqual([...one.complaints, ...two.complaints], []);
  });

  test('subscribing to another topic leaves the first', async t => {
    const { page } = await demo(t, 'first');
    await gateway().subscribed('first');
    await page.fill('#topic', 'second/with ümläut');
    await page.press('#topic', 'Enter');
    await gateway().subscribed('second/with ümläut');
    await gateway().subscribed('first', 0);
    await gateway().probe.publish('second/with ümläut', Buffer.from([0xff, 0x00, 0x10]));
    assert.equal(await page.locator('#messages li.binary .text').innerText(), 'ff 00 10');
  });

  test('the list stays bounded under a burst', async t => {
    const { page } = await demo(t, 'burst');
    await gateway().subscribed('burst');
    await gateway().probe.pipeline(Array.from({ length: 1000 }, (_, i) => ['PUBLISH', 'burst', `message ${i}`]));
    await page.getByText('1,000, newest 200 shown').waitFor();
    assert.equal(await page.locator('#messages li').count(), 200);
    assert.equal(await page.locator('#messages li .text').first().innerText(), 'message 999');
  });

  test('it reconnects by itself when its connection is cut', async t => {
    const { page } = await demo(t, 'again');
    await gateway().subscribed('again');
    await page.context().setOffline(true);
    await page.evaluate(() => socket.close());
    await page.locator('#state[data-state=waiting]').waitFor();
    await page.context().setOffline(false);
    await page.locator('#state[data-state=open]').waitFor();
  });

  test('on a phone nothing is wider than the screen', async t => {
    const { page } = await demo(t, 'narrow', { viewport: { width: 320, height: 640 }, colorScheme: 'dark' });
    await gateway().subscribed('narrow');
    await gateway().probe.publish('narrow', 'x'.repeat(500));
    await page.locator('#messages li').waitFor();
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  });
});
