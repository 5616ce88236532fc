// The server API: curl, the published server library cent.js, and clients that see what it does: raw ones and the Centrifuge SDK.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import cent from 'cent.js';
import { client, now, secret, subscriber, token } from './lib/centrifuge.mjs';
import { Gateway, own, until } from './lib/gateway.mjs';
import { open } from './lib/wire.mjs';

const key = 'api-key-of-the-tests';
const settings = { 'api.key': key, 'auth.hmac_secret': secret };
const topics = {
  'chat:*': { history_size: 100, history_ttl: '5m', recover: 'on', presence: 'on', join_leave: 'on' },
  'short:*': { history_size: 2 },
};
const epoch = /^[0-9a-f]{16}$/;

/** What curl prints, and the status behind it. */
async function curl(...args) {
  const { stdout } = await promisify(execFile)('curl', ['--silent', '--show-error', '--max-time', '20', '--write-out', '\n%{http_code}', ...args]);
  const end = stdout.lastIndexOf('\n');
  return { body: stdout.slice(0, end), status: Number(stdout.slice(end + 1)) };
}

describe('the server API', () => {
  let running;
  const gateway = () => running;
  before(async () => { running = await Gateway.start(settings, { topics }); });
  after(() => running?.stop());
  const url = () => `http://127.0.0.1:${gateway().admin}/api`;
  const backend = () => new cent.CentClient({ url: url(), apiKey: key });
  /** A POST with the key: the parsed answer. */
  const api = async (method, params) => (await fetch(`${url()}/${method}`, { method: 'POST', headers: { 'X-API-Key': key }, body: JSON.stringify(params) })).json();

  test('curl publishes, as the documentation of that API says', async () => {
    const wire = await open(gateway(), 'ws', '/ws?topic=curl');
    await gateway().subscribed('curl');
    const { body, status } = await curl('--header', `X-API-Key: ${key}`, '--request', 'POST', '--data', '{"channel": "curl", "data": {"value": "test_value"}}', `${url()}/publish`);
    assert.equal(status, 200);
    assert.deepEqual(JSON.parse(body), { result: {} });
    assert.equal((await wire.frame()).text, '{"value": "test_value"}');
    const info = await curl('--header', `Authorization: apikey ${key}`, '--request', 'POST', `${url()}/info`);
    assert.equal(JSON.parse(info.body).result.nodes[0].num_clients, 1);
    for (const args of [[], ['--header', 'X-API-Key: wrong'], ['--header', 'Authorization: Bearer x']])
      assert.equal((await curl(...args, '--data', '{}', `${url()}/info`)).status, 401);
    assert.equal((await curl('--header', `X-API-Key: ${key}`, '--header', 'Origin: https://evil.example', '--data', '{}', `${url()}/info`)).status, 403);
    assert.equal((await curl('--header', `X-API-Key: ${key}`, `${url()}/info`)).status, 405);
    assert.equal((await curl('--header', `X-API-Key: ${key}`, '--data', '{"channel"', `${url()}/publish`)).status, 400);
    wire.destroy();
  });

  test('a large body arrives, one beyond api.body_bytes does not', async () => {
    const wire = await open(gateway(), 'ws', '/ws?topic=large');
    await gateway().subscribed('large');
    const commands = Array.from({ length: 20 }, (_, n) => ({ publish: { channel: 'large', data: { n, text: 'x'.repeat(40000) } } }));
    const { replies } = await api('batch', { commands });
    assert.deepEqual(replies, commands.map(() => ({ publish: {} })));
    for (let n = 0; n < 20; n++) assert.equal(JSON.parse((await wire.frame()).text).n, n);
    const response = await fetch(`${url()}/batch`, { method: 'POST', headers: { 'X-API-Key': key }, body: JSON.stringify({ commands: [...commands, ...commands] }) });
    assert.equal(response.status, 413);
    wire.destroy();
  });

  test('cent.js publishes and reads history, unmodified', async t => {
    const { subscription } = await subscriber(t, gateway().ws, 'chat:cent');
    const first = await backend().publish({ channel: 'chat:cent', data: { n: 1 }, tags: { kind: 'test' } });
    assert.equal(first.offset, 1);
    assert.match(first.epoch, epoch);
    const seen = await subscription.log.next('publication');
    assert.deepEqual([seen.data, seen.tags, seen.offset], [{ n: 1 }, { kind: 'test' }, 1]);
    assert.deepEqual(await backend().broadcast({ channels: ['chat:cent', 'nobody'], data: { n: 2 } }), { responses: [{ result: { offset: 2, epoch: first.epoch } }, { result: {} }] });
    assert.deepEqual((await subscription.log.next('publication')).data, { n: 2 });
    assert.deepEqual(await backend().publish({ channel: 'chat:cent', data: { n: 3 }, skip_history: true }), {});
    assert.deepEqual((await subscription.log.next('publication')).data, { n: 3 });
    assert.deepEqual(await backend().getHistory({ channel: 'chat:cent', limit: 10 }),
      { publications: [{ data: { n: 1 }, offset: 1, tags: { kind: 'test' } }, { data: { n: 2 }, offset: 2 }], offset: 2, epoch: first.epoch });
    const page = await backend().getHistory({ channel: 'chat:cent', limit: 10, since: { offset: 1, epoch: first.epoch } });
    assert.deepEqual(page.publications.map(({ offset }) => offset), [2]);
    assert.deepEqual(await backend().removeHistory({ channel: 'chat:cent' }), {});
    assert.deepEqual(await backend().getHistory({ channel: 'chat:cent', limit: 10 }), { publications: [], offset: 2, epoch: first.epoch });
    await assert.rejects(backend().getHistory({ channel: 'plain', limit: 1 }), cent.CentException);
    await assert.rejects(backend().publish({ channel: 'chat:cent' }), cent.CentException);
  });

  test('cent.js sends a pipeline, one command a line', async () => {
    const results = await backend().pipeline([
      { method: cent.CentMethods.Publish, params: { channel: 'short:pipe', data: { n: 1 } } },
      { method: cent.CentMethods.Publish, params: { channel: 'short:pipe', data: { n: 2 } } },
      { method: cent.CentMethods.History, params: { channel: 'short:pipe', limit: 9, reverse: true } },
    ]);
    assert.deepEqual(results.map(({ offset }) => offset), [1, 2, 2]);
    assert.deepEqual(results[2].publications.map(({ data }) => data.n), [2, 1]);
  });

  test('cent.js sees who is there, topics and the gateway', async t => {
    const anna = await subscriber(t, gateway().ws, 'chat:here', { token: await token({ sub: 'anna', info: { name: 'Anna' } }) });
    await subscriber(t, gateway().wss, 'chat:here', { pem: gateway().certificate.pem });
    const id = (await anna.centrifuge.log.next('connected')).client;
    const { presence } = await backend().getPresence({ channel: 'chat:here' });
    assert.equal(Object.keys(presence).length, 2);
    assert.deepEqual(presence[id], { client: id, user: 'anna', conn_info: { name: 'Anna' } });
    assert.deepEqual(await backend().getPresenceStats({ channel: 'chat:here' }), { num_clients: 2, num_users: 2 });
    assert.deepEqual(await backend().getChannels({ pattern: 'chat:h*' }), { channels: { 'chat:here': { num_clients: 2 } } });
    const { nodes: [node] } = await backend().getInfo();
    assert.ok(node.num_clients >= 2 && node.num_channels >= 1 && node.uptime >= 0);
    assert.match(node.version, /^\d+\.\d+\.\d+$/);
    assert.equal(node.uid, (await backend().getInfo()).nodes[0].uid);
    await assert.rejects(backend().getPresence({ channel: 'plain' }), cent.CentException);
  });

  test('a user is subscribed and unsubscribed by the server, in all its connections', async t => {
    const clients = [client(t, gateway().ws, { token: await token({ sub: 'carl' }) }), client(t, gateway().wss, { pem: gateway().certificate.pem, token: await token({ sub: 'carl' }) })];
    const other = client(t, gateway().ws, { token: await token({ sub: 'dora' }) });
    for (const one of [...clients, other]) {
      one.connect();
      await one.ready(10000);
    }
    assert.deepEqual(await backend().subscribe({ user: 'carl', channel: 'chat:ordered' }), {});
    for (const one of clients) assert.equal((await one.log.next('subscribed')).channel, 'chat:ordered');
    await gateway().subscribed('chat:ordered', 2);
    await backend().publish({ channel: 'chat:ordered', data: { n: 1 } });
    for (const one of clients) assert.deepEqual((await one.log.next('publication')).data, { n: 1 });
    const { presence } = await backend().getPresence({ channel: 'chat:ordered' });
    assert.deepEqual(Object.values(presence).map(({ user }) => user), ['carl', 'carl']);
    // One of them by its id, then the rest.
    const { client: id } = await clients[0].log.next('connected');
    await backend().unsubscribe({ user: 'carl', channel: 'chat:ordered', client: id });
    assert.equal((await clients[0].log.next('unsubscribed')).channel, 'chat:ordered');
    assert.deepEqual(await backend().getPresenceStats({ channel: 'chat:ordered' }), { num_clients: 1, num_users: 1 });
    await backend().unsubscribe({ user: 'carl', channel: 'chat:ordered' });
    await clients[1].log.next('unsubscribed');
    assert.equal(clients[0].log.all('unsubscribed').length, 1);
    assert.equal(other.log.all('subscribed').length, 0);
  });

  test('a client\'s own subscription ends when the server says so, with the code for it', async t => {
    const { subscription } = await subscriber(t, gateway().ws, 'chat:own', { token: await token({ sub: 'emil' }) });
    await backend().unsubscribe({ user: 'emil', channel: 'chat:own' });
    const { code, reason } = await subscription.log.next('unsubscribed');
    assert.deepEqual([code, reason], [2000, 'server unsubscribe']);
    assert.deepEqual(await backend().getChannels({ pattern: 'chat:own' }), { channels: {} });
  });

  test('subscribing with recover_since brings what was published since', async t => {
    const first = await backend().publish({ channel: 'chat:since', data: { n: 1 } });
    for (const n of [2, 3]) await backend().publish({ channel: 'chat:since', data: { n } });
    const fred = client(t, gateway().ws, { token: await token({ sub: 'fred' }) });
    fred.connect();
    await fred.ready(10000);
    await api('subscribe', { user: 'fred', channel: 'chat:since', recover_since: { offset: first.offset, epoch: first.epoch }, data: { why: 'invited' } });
    assert.deepEqual((await fred.log.next('subscribed')).data, { why: 'invited' });
    for (const n of [2, 3]) assert.deepEqual((await fred.log.next('publication')).data, { n });
  });

  test('a user is disconnected and does not come back, unless the code says so; those on the whitelist stay', async t => {
    const users = await Promise.all(Array.from({ length: 3 }, async () => client(t, gateway().ws, { token: await token({ sub: 'gina' }) })));
    for (const one of users) {
      one.connect();
      await one.ready(10000);
    }
    const { client: kept } = await users[2].log.next('connected');
    assert.deepEqual(await api('disconnect', { user: 'gina', whitelist: [kept] }), { result: {} });
    for (const one of users.slice(0, 2)) {
      const { code, reason } = await one.log.next('disconnected');
      assert.deepEqual([code, reason], [3503, 'force disconnect']);
    }
    assert.equal(users[2].state, 'connected');
    await api('disconnect', { user: 'gina', disconnect: { code: 4100, reason: 'come back' } });
    const { code, reason } = await until('it is told', () => users[2].log.all('connecting').find(({ code }) => code === 4100));
    assert.deepEqual([code, reason], [4100, 'come back']);
    await until('it has come back', () => users[2].log.all('connected').length === 2, 10000);
    await api('disconnect', { user: 'gina', disconnect: { code: 4500, reason: 'stay away' } });
    assert.equal((await users[2].log.next('disconnected')).code, 4500);
    assert.equal((await api('disconnect', { user: 'gina', disconnect: { code: 1000, reason: 'x' } })).error.code, 107);
  });

  test('a connection that is told that it has expired comes back with a new token', async t => {
    const hugo = client(t, gateway().ws, { token: await token({ sub: 'hugo' }), getToken: async () => token({ sub: 'hugo' }) });
    hugo.connect();
    await hugo.ready(10000);
    await api('refresh', { user: 'hugo', expired: true });
    const { code } = await until('it is told', () => hugo.log.all('connecting').find(({ code }) => code === 3005));
    assert.equal(code, 3005);
    await until('it is back', () => hugo.log.all('connected').length === 2, 10000);
    await api('refresh', { user: 'hugo', expire_at: now() + 3600 });
    assert.equal(hugo.state, 'connected');
  });

  test('a repeated publication with its key is published once', async t => {
    const { subscription } = await subscriber(t, gateway().ws, 'chat:once');
    const all = await Promise.all(Array.from({ length: 20 }, () => api('publish', { channel: 'chat:once', data: { n: 1 }, idempotency_key: 'k' })));
    for (const { result } of all) assert.deepEqual(result, all[0].result);
    assert.equal(all[0].result.offset, 1);
    await backend().publish({ channel: 'chat:once', data: { n: 2 } });
    await until('both', () => subscription.data().length === 2);
    assert.deepEqual(subscription.data(), [{ n: 1 }, { n: 2 }]);
  });

  test('/metrics counts calls by method and outcome', async () => {
    const count = (method, outcome) => gateway().metric('pushgate_api_calls_total', `method="${method}"`, `outcome="${outcome}"`);
    const earlier = [await count('info', 'ok'), await count('rpc', 'method_not_found')];
    await api('info', {});
    assert.equal((await api('rpc', { method: 'x' })).error.code, 104);
    assert.deepEqual([await count('info', 'ok'), await count('rpc', 'method_not_found')], earlier.map(n => n + 1));
  });

  test('ten thousand topics in one broadcast', async () => {
    const channels = Array.from({ length: 10000 }, (_, n) => `short:${n % 5000}`);
    const { result } = await api('broadcast', { channels, data: { hello: 'all' } });
    assert.equal(result.responses.length, 10000);
    assert.deepEqual(result.responses.map(({ result: { offset } }) => offset), channels.map((_, n) => n < 5000 ? 1 : 2));
    assert.equal((await api('broadcast', { channels: [...channels, 'x'], data: 1 })).error.code, 106);
  });
});

test('without a key the server API is off; without one on purpose it is open, but not to pages of other sites', async t => {
  const off = await own(t);
  const refused = await off.get('/api/info', { method: 'POST', body: '{}' });
  assert.equal(refused.status, 403);
  assert.match(await refused.text(), /api\.key/);
  const on = await own(t, { 'api.insecure': 'on' });
  assert.equal((await on.get('/api/info', { method: 'POST', body: '{}' })).status, 200);
  assert.equal((await on.get('/api/info', { method: 'POST', body: '{}', headers: { Origin: 'https://evil.example' } })).status, 403);
});

test('the key is in no log line and no answer', async t => {
  const gateway = await own(t, { ...settings, 'log.level': 'debug' });
  const answers = [];
  for (const headers of [{ 'X-API-Key': key }, { 'X-API-Key': `${key}x` }, { Authorization: `apikey ${key}` }, {}])
    for (const body of ['{}', 'nonsense'])
      for (const path of ['/api/info', '/api', '/api/nope', `/api/info?api_key=${key}`])
        answers.push(await (await gateway.get(path, { method: 'POST', headers, body })).text());
  answers.push(await (await gateway.get('/metrics')).text(), await (await gateway.get('/')).text(), gateway.stderr);
  for (const text of answers) assert.ok(!text.includes(key));
});
