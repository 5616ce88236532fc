// The demo page's chat in real browsers, over wss: the Centrifuge SDK as it is published, with history, recovery and presence.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { own, shared, until } from '../integration/lib/gateway.mjs';
import { relay } from '../integration/lib/relay.mjs';
import { chromiumFor, open } from './lib/chromium.mjs';

const topics = { 'chat:*': { history_size: 300, history_ttl: '24h', recover: 'on', presence: 'on', join_leave: 'on', publish: 'subscribers' } };
const ROOM = 'chat:lobby';
const gateway = shared({ before, after }, {}, { topics });
const browser = chromiumFor({ before, after });

const at = port => `https://127.0.0.1:${port}/`;

/** The page after `name` has joined. Everybody of a file meets in one room, so names and texts are each test's own. */
async function join(t, name, { port = gateway().wss, ...options } = {}) {
  const { page, complaints } = await open(t, browser(), at(port), options);
  await page.getByLabel('Your name').fill(name);
  await page.getByRole('button', { name: 'Join' }).click();
  await page.locator('#chat-state[data-state=open]').waitFor();
  return { page, complaints };
}

async function say(page, text) {
  await page.getByLabel('Message', { exact: true }).fill(text);
  await page.getByRole('button', { name: 'Send' }).click();
}

const line = (page, text) => page.getByRole('log', { name: 'What was said' }).getByRole('listitem').filter({ hasText: text });
const person = (page, name) => page.getByRole('list', { name: 'Here now' }).getByRole('listitem').filter({ hasText: name });
const texts = page => page.locator('#lines .said').allInnerTexts();

describe('chat', () => {
  test('two who are in the room read each other, and see each other come and go', async t => {
    const ann = await join(t, 'Ann'), bea = await join(t, 'Bea');
    await line(ann.page, 'Bea joined').waitFor();
    for (const { page } of [ann, bea]) for (const name of ['Ann', 'Bea']) await person(page, name).waitFor();
    await say(ann.page, 'to Bea');
    await line(bea.page, 'to Bea').waitFor();
    await say(bea.page, 'to Ann');
    await line(ann.page, 'to Ann').waitFor();
    assert.match(await line(ann.page, 'to Ann').innerText(), /^Bea/);
    assert.deepEqual(await texts(ann.page), await texts(bea.page));
    await bea.page.getByRole('button', { name: 'Leave' }).click();
    await line(ann.page, 'Bea left').waitFor();
    assert.equal(await person(ann.page, 'Bea').count(), 0);
    await bea.page.getByRole('button', { name: 'Join' }).click(); // its name still stands there
    await person(ann.page, 'Bea').waitFor();
    await bea.page.close();
    await until('a page that was closed has left', async () => await person(ann.page, 'Bea').count() === 0);
    assert.deepEqual([...ann.complaints, ...bea.complaints], []);
  });

  test('who comes late reads what was said before, and knows by name who is here', async t => {
    const cleo = await join(t, 'Cleo');
    for (const text of ['late one', 'late two', 'late three']) {
      await say(cleo.page, text);
      await line(cleo.page, text).waitFor();
    }
    const dora = await join(t, 'Dora');
    await line(dora.page, 'late three').waitFor();
    assert.deepEqual((await texts(dora.page)).filter(text => text.startsWith('late')), ['late one', 'late two', 'late three']);
    await person(dora.page, 'Cleo').waitFor();
    await person(dora.page, 'Dora (you)').waitFor();
    assert.deepEqual(dora.complaints, []);
  });

  test('what was said while the connection was cut is there afterwards, once and in order', async t => {
    const { port, down, up } = await relay(t, gateway().wss);
    const edda = await join(t, 'Edda'), fay = await join(t, 'Fay', { port });
    await say(edda.page, 'cut 0');
    await line(fay.page, 'cut 0').waitFor();
    down();
    await fay.page.locator('#chat-state[data-state=waiting]').waitFor();
    await line(edda.page, 'Fay left').waitFor();
    for (let i = 1; i <= 5; i++) {
      await say(edda.page, `cut ${i}`);
      await line(edda.page, `cut ${i}`).waitFor();
    }
    up();
    await line(fay.page, 'cut 5').waitFor();
    assert.deepEqual((await texts(fay.page)).filter(text => text.startsWith('cut')), [0, 1, 2, 3, 4, 5].map(i => `cut ${i}`));
    assert.equal(await fay.page.locator('#lines .gap').count(), 0);
    await person(edda.page, 'Fay').waitFor();
    await say(fay.page, 'back again');
    await line(edda.page, 'back again').waitFor();
    assert.deepEqual([...edda.complaints, ...fay.complaints], []);
  });

  for (const signal of ['SIGTERM', 'SIGKILL']) {
    test(`${signal} and a new start: pages come back by themselves, and say that something may be missing`, async t => {
      const restarted = await own(t, { 'drain.timeout': '100ms' }, { topics }), port = restarted.wss;
      const gina = await join(t, 'Gina', { port }), hope = await join(t, 'Hope', { port });
      await say(gina.page, 'before');
      await line(hope.page, 'before').waitFor();
      await restarted.restart(signal);
      for (const { page } of [gina, hope]) {
        await line(page, 'Something may be missing').waitFor();
        await page.locator('#chat-state[data-state=open]').waitFor();
        for (const name of ['Gina', 'Hope']) await person(page, name).waitFor();
      }
      await say(gina.page, 'after');
      for (const { page } of [gina, hope]) {
        await line(page, 'after').waitFor();
        assert.deepEqual(await texts(page), ['before', 'after']);
      }
      assert.deepEqual([...gina.complaints, ...hope.complaints], []);
    });
  }

  test('a backend speaks in the room', async t => {
    const { page } = await join(t, 'Ivy');
    execFileSync('redis-cli', ['-p', String(gateway().publish), 'publish', ROOM, 'from a terminal']);
    await line(page, 'from a terminal').waitFor();
    assert.match(await line(page, 'from a terminal').innerText(), /^backend/);
  });

  test('names and messages are text, never markup, and nothing that is published breaks the page', async t => {
    const evil = '<img src=x onerror="document.title=1">';
    const june = await join(t, evil.slice(0, 40)), kim = await join(t, 'Kim');
    await say(june.page, evil);
    await line(kim.page, evil).waitFor();
    const strange = ['null', '[]', '42', '""', '{}', '{"text":5,"name":{"x":1}}', '{"text":"odd time","at":1e300}', '{"text":"a\\u0000b","name":"\\u202egnirts","at":"x"}',
      '{"__proto__":{"text":"proto"}}', Buffer.from([0xff, 0x00, 0x10]), `{"text":${JSON.stringify(evil)},"name":${JSON.stringify(evil)}}`];
    const publisher = await gateway().publisher();
    await publisher.pipeline([ROOM, `${ROOM}:names`].flatMap(topic => strange.map(payload => ['PUBLISH', topic, payload])));
    await say(june.page, 'after all of that');
    await line(kim.page, 'after all of that').waitFor();
    for (const { page, complaints } of [june, kim]) {
      assert.equal(await page.locator('#chat img').count(), 0);
      assert.equal(await page.title(), 'pushgate demo');
      assert.deepEqual(complaints, []);
    }
  });

  test('the list stays bounded and in order under a burst', async t => {
    const { page } = await join(t, 'Lou');
    const publisher = await gateway().publisher();
    await publisher.pipeline(Array.from({ length: 1000 }, (_, i) => ['PUBLISH', ROOM, `burst ${i}`]));
    await line(page, 'burst 999').waitFor();
    const shown = await texts(page);
    assert.equal(await page.locator('#lines li').count(), 300);
    assert.deepEqual(shown.slice(-250), Array.from({ length: 250 }, (_, i) => `burst ${i + 750}`));
  });

  test('a gateway that keeps nothing of these topics says so, and people can still read', async t => {
    const plain = await own(t);
    const { page, complaints } = await join(t, 'Mia', { port: plain.wss });
    await page.getByText('Who is here is not known').waitFor();
    await line(page, 'What was said before cannot be had').waitFor();
    await plain.subscribed(ROOM);
    await plain.probe.publish(ROOM, 'read this');
    await line(page, 'read this').waitFor();
    await say(page, 'may I?');
    await page.getByText('Not sent: permission denied.').waitFor();
    assert.equal(await page.getByLabel('Message', { exact: true }).inputValue(), 'may I?');
    assert.deepEqual(complaints, []);
  });

  test('a gateway that wants tokens ends the chat with its reason', async t => {
    const strict = await own(t, { 'auth.anonymous': 'off', 'auth.hmac_secret': 'a secret of at least thirty-two bytes' }, { topics });
    const { page } = await open(t, browser(), at(strict.wss));
    await page.getByLabel('Your name').fill('Nina');
    await page.getByRole('button', { name: 'Join' }).click();
    await page.getByText(/The gateway has ended the connection \(\d+: /).waitFor();
    assert.ok(await page.getByRole('button', { name: 'Join' }).isVisible());
  });

  test('a build without the SDK has the page without the chat, and says how to get it', async t => {
    const { page, complaints } = await open(t, browser(), at(gateway().wss),
      { init: page => page.route('**/centrifuge.js', route => route.fulfill({ contentType: 'text/javascript', body: '\n' })) });
    await page.getByText('deploy/demo-sdk.sh').waitFor();
    assert.ok(!await page.getByLabel('Your name').isVisible());
    await page.locator('#state[data-state=open]').waitFor();
    assert.deepEqual(complaints, []);
  });

  for (const [width, colorScheme] of [[320, 'light'], [360, 'dark'], [1280, 'light'], [1280, 'dark']]) {
    test(`nothing is wider than ${width} pixels, ${colorScheme}`, async t => {
      const { page } = await join(t, 'O'.repeat(40), { viewport: { width, height: 740 }, colorScheme });
      await say(page, `${width} ${colorScheme} ${'x'.repeat(980)}`);
      await line(page, `${width} ${colorScheme}`).waitFor();
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
      const inside = await page.locator('#lines, #people, #say, #chat .bar').evaluateAll(parts => parts.every(part => part.scrollWidth <= part.clientWidth));
      assert.ok(inside);
      const paper = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      assert.equal(paper, colorScheme === 'dark' ? 'rgb(18, 21, 27)' : 'rgb(246, 247, 249)');
      if (process.env.PUSHGATE_SCREENSHOTS) await page.screenshot({ path: `${process.env.PUSHGATE_SCREENSHOTS}/chat-${width}-${colorScheme}.png`, fullPage: true });
    });
  }

  test('scripts and styles are the gateway\'s own files, and the policy lets nothing else run', async t => {
    const { page } = await open(t, browser(), at(gateway().wss));
    const policy = (await page.reload()).headers()['content-security-policy'];
    assert.doesNotMatch(policy, /unsafe|\*/);
    await page.evaluate(() => document.body.append(Object.assign(document.createElement('script'), { textContent: 'document.title = "run"' })));
    assert.equal(await page.title(), 'pushgate demo');
  });
});
