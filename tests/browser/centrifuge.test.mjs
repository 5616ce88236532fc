// The Centrifuge SDK's browser bundle in a page, over wss: what an application's own page does with it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { now, secret, token } from '../integration/lib/centrifuge.mjs';
import { Gateway, own, until } from '../integration/lib/gateway.mjs';
import { relay } from '../integration/lib/relay.mjs';
import { chromiumFor, open } from './lib/chromium.mjs';

const apiKey = 'api-key-of-the-tests';
const topics = {
  'room:*': { history_size: 50, recover: 'on', presence: 'on', join_leave: 'on', publish: 'subscribers' },
  'own:*': { subscribe: 'token' },
};
const settings = { 'auth.hmac_secret': secret, 'api.key': apiKey };

/** The backend behind rpc: it answers who asked for what, and refuses the method "no". */
const backend = createServer(async (request, response) => {
  let body = '';
  for await (const chunk of request) body += chunk;
  const { method, data, user } = JSON.parse(body);
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify(method === 'no' ? { error: { code: 1001, message: 'not this one' } } : { result: { data: { method, data, user } } }));
});
let gateway, calls;
before(async () => {
  await once(backend.listen(0, '127.0.0.1'), 'listening');
  gateway = await Gateway.start(settings, { topics });
  calls = await Gateway.start({ ...settings, 'proxy.rpc': `http://127.0.0.1:${backend.address().port}/rpc` });
});
after(async () => {
  await Promise.all([gateway?.stop(), calls?.stop()]);
  backend.close();
});
const browser = chromiumFor({ before, after });

/** Asks the server API. */
async function api(method, params) {
  const response = await fetch(`http://127.0.0.1:${gateway.admin}/api/${method}`, { method: 'POST', headers: { 'X-API-Key': apiKey }, body: JSON.stringify(params) });
  assert.deepEqual(await response.json(), { result: {} });
}

/** A page with the bundle and a function start(options, topic) in it, which connects and subscribes, and keeps what it hears. */
async function application(t, port = gateway.wss) {
  const { page, complaints } = await open(t, browser(), `https://127.0.0.1:${port}/`);
  await page.evaluate(() => {
    window.start = async (options, topic, subscription = {}) => {
      const client = window.client = new Centrifuge(`wss://${location.host}/connection/websocket`, options);
      const sub = window.sub = client.newSubscription(topic, { recoverable: true, joinLeave: true, ...subscription });
      window.heard = [];
      window.states = [];
      for (const event of ['connecting', 'connected', 'disconnected']) client.on(event, ({ code }) => window.states.push([event, code]));
      for (const event of ['publication', 'join', 'leave', 'subscribed', 'unsubscribed'])
        sub.on(event, context => window.heard.push({ event, ...context }));
      sub.subscribe();
      client.connect();
      await sub.ready(5000);
      return client.state;
    };
    window.until = async probe => { while (!probe()) await new Promise(resolve => { setTimeout(resolve, 5); }); };
  });
  return { page, complaints };
}

describe('the SDK in a browser', () => {
  test('subscribes, publishes, and asks for history and presence', async t => {
    const one = await application(t), two = await application(t);
    await one.page.evaluate(options => start(options, 'room:all'), { token: await token({ sub: 'ann', info: { colour: 'green' } }) });
    await two.page.evaluate(options => start(options, 'room:all'), { token: await token({ sub: 'bea' }) });
    await one.page.evaluate(() => until(() => heard.some(({ event, info }) => event === 'join' && info.user === 'bea')));
    for (const data of [{ n: 1 }, 'text', [null, true], 1.5]) await two.page.evaluate(data => sub.publish(data), data);
    await gateway.publisher().then(publisher => publisher.publish('room:all', 'of a backend, and no JSON'));
    for (const { page } of [one, two]) {
      await page.evaluate(() => until(() => heard.filter(({ event }) => event === 'publication').length === 5));
      const heard = await page.evaluate(() => window.heard.filter(({ event }) => event === 'publication'));
      assert.deepEqual(heard.map(({ data }) => data), [{ n: 1 }, 'text', [null, true], 1.5, 'of a backend, and no JSON']);
      assert.deepEqual(heard.map(({ offset }) => offset), [1, 2, 3, 4, 5]);
      assert.deepEqual(heard.map(({ info }) => info?.user), ['bea', 'bea', 'bea', 'bea', undefined]);
    }
    const history = await one.page.evaluate(() => sub.history({ limit: 2, reverse: true }));
    assert.deepEqual(history.publications.map(({ offset }) => offset), [5, 4]);
    assert.equal(history.offset, 5);
    const { clients } = await one.page.evaluate(() => sub.presence());
    assert.deepEqual(Object.values(clients).map(({ user, connInfo }) => [user, connInfo]).sort(), [['ann', { colour: 'green' }], ['bea', undefined]]);
    assert.deepEqual(await one.page.evaluate(() => sub.presenceStats()), { numClients: 2, numUsers: 2 });
    await two.page.close();
    await one.page.evaluate(() => until(() => heard.some(({ event, info }) => event === 'leave' && info.user === 'bea')));
    assert.deepEqual([...one.complaints, ...two.complaints], []);
  });

  test('is told of errors: no backend for rpc, no right to a topic, a topic without history', async t => {
    const { page } = await application(t);
    await page.evaluate(() => start({}, 'room:errors'));
    const told = call => page.evaluate(`(async () => { try { await (${call})(); return null; } catch ({ code, message }) { return { code, message }; } })()`);
    assert.deepEqual(await told(() => client.rpc('anything', {})), { code: 108, message: 'not available' });
    assert.deepEqual(await told(() => client.publish('room:elsewhere', {})), { code: 103, message: 'permission denied' });
    assert.deepEqual(await told(() => client.history('plain', { limit: 1 })), { code: 108, message: 'not available' });
    const { code } = await page.evaluate(() => new Promise(resolve => {
      const own = client.newSubscription('own:42');
      own.on('unsubscribed', resolve);
      own.subscribe();
    }));
    assert.equal(code, 103);
  });

  test('gets a topic with a subscription token', async t => {
    const { page } = await application(t);
    const state = await page.evaluate(([connection, own]) => start({ token: connection }, 'own:42', { token: own }),
      [await token({ sub: '42' }), await token({ sub: '42', channel: 'own:42' })]);
    assert.equal(state, 'connected');
  });

  test('recovers exactly what it missed while its connection was cut', async t => {
    const { port, down, up } = await relay(t, gateway.wss);
    const { page } = await application(t, port), publisher = await gateway.publisher();
    await page.evaluate(() => start({ minReconnectDelay: 50, maxReconnectDelay: 200 }, 'room:cut'));
    await publisher.publish('room:cut', '0');
    for (let round = 0; round < 3; round++) {
      down();
      await page.evaluate(() => until(() => client.state === 'connecting'));
      for (let i = 1; i <= 5; i++) await publisher.publish('room:cut', `${round * 5 + i}`);
      up();
      await page.evaluate(count => until(() => heard.filter(({ event }) => event === 'publication').length >= count), round * 5 + 6);
    }
    const heard = await page.evaluate(() => window.heard);
    assert.deepEqual(heard.filter(({ event }) => event === 'publication').map(({ data }) => data), Array.from({ length: 16 }, (_, i) => i));
    assert.deepEqual(heard.filter(({ event }) => event === 'subscribed').map(({ wasRecovering, recovered }) => [wasRecovering, recovered]),
      [[false, false], [true, true], [true, true], [true, true]]);
  });

  test('calls the backend, and is told its errors', async t => {
    const { page, complaints } = await application(t, calls.wss);
    await page.evaluate(options => start(options, 'news'), { token: await token({ sub: 'cleo' }) });
    assert.deepEqual(await page.evaluate(() => client.rpc('double', { n: [1, 'ü', null] })), { data: { method: 'double', data: { n: [1, 'ü', null] }, user: 'cleo' } });
    assert.deepEqual(await page.evaluate(() => client.rpc('no', {}).catch(({ code, message }) => [code, message])), [1001, 'not this one']);
    assert.deepEqual(complaints, []);
  });

  test('stays with fresh tokens when its own expire', async t => {
    const { page } = await application(t);
    let fetched = 0;
    await page.exposeFunction('fresh', () => { fetched++; return token({ sub: 'dora', exp: now() + 2 }); });
    await page.evaluate(options => start({ ...options, getToken: () => fresh() }, 'room:tokens'), { token: await token({ sub: 'dora', exp: now() + 2 }) });
    await page.waitForFunction(() => window.sub.state === 'subscribed');
    await until('three fresh tokens', () => fetched >= 3, 20000);
    assert.deepEqual(await page.evaluate(() => states), [['connecting', 0], ['connected', undefined]]);
  });

  test('hears that the server has ended its subscription, and does not come back when it is disconnected for good', async t => {
    const { page, complaints } = await application(t);
    await page.evaluate(options => start(options, 'room:orders'), { token: await token({ sub: 'emil' }) });
    await api('unsubscribe', { user: 'emil', channel: 'room:orders' });
    await page.evaluate(() => until(() => heard.some(({ event }) => event === 'unsubscribed')));
    const { code, reason } = await page.evaluate(() => heard.find(({ event }) => event === 'unsubscribed'));
    assert.deepEqual([code, reason], [2000, 'server unsubscribe']);
    await api('disconnect', { user: 'emil' });
    await page.evaluate(() => until(() => client.state === 'disconnected'));
    assert.deepEqual((await page.evaluate(() => states)).at(-1), ['disconnected', 3503]);
    await gateway.connections(1); // the page's own, to /ws
    assert.deepEqual(complaints, []);
  });

  test('is told when a new gateway does not know what it missed', async t => {
    const restarted = await own(t, settings, { topics });
    const { page } = await application(t, restarted.wss);
    await page.evaluate(() => start({ minReconnectDelay: 50, maxReconnectDelay: 200 }, 'room:restart'));
    await page.evaluate(() => sub.publish('before'));
    await restarted.restart('SIGKILL');
    await page.evaluate(() => until(() => heard.filter(({ event }) => event === 'subscribed').length === 2));
    const [first, second] = await page.evaluate(() => heard.filter(({ event }) => event === 'subscribed'));
    assert.deepEqual([second.wasRecovering, second.recovered], [true, false]);
    assert.notEqual(second.streamPosition.epoch, first.streamPosition.epoch);
    await page.evaluate(() => sub.publish('after'));
    await page.evaluate(() => until(() => heard.at(-1).data === 'after'));
    assert.equal((await page.evaluate(() => states)).filter(([event]) => event === 'disconnected').length, 0);
  });

  test('the README\'s example does what it says, with the quickstart\'s topics', async t => {
    const root = new URL('../../', import.meta.url);
    const [, example] = /^## With an SDK$[^]*?```js\n([^]*?)```/m.exec(readFileSync(new URL('README.md', root), 'utf8'));
    const [, rule] = /^\[topic chat:\*\]\n([^[]*)/m.exec(readFileSync(new URL('deploy/quickstart.conf', root), 'utf8'));
    const quickstart = await own(t, {}, { topics: { 'chat:*': Object.fromEntries(rule.trim().split('\n').map(line => line.split(' = '))) } });
    const { page, complaints } = await open(t, browser(), `https://127.0.0.1:${quickstart.wss}/`);
    const said = [];
    page.on('console', message => said.push(message.text()));
    const code = example.replace(/^import .*$/m, '').replace('127.0.0.1:8443', `127.0.0.1:${quickstart.wss}`);
    const { clients, publications } = await page.evaluate(`(async () => { ${code}; return { clients, publications }; })()`);
    const [id] = Object.keys(clients);
    assert.deepEqual(Object.keys(clients).length, 1);
    assert.deepEqual(publications.map(({ data, info }) => [data, info.client]), [[{ text: 'hello' }, id]]);
    await until('it has said what it heard', () => said.length >= 2);
    assert.deepEqual(said.sort(), [`${id} came`, `${id} {text: hello}`]);
    assert.deepEqual(complaints, []);
  });
});
