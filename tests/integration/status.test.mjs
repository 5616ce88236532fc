// The status of a gateway under real load: what /status.json and its stream tell, held against what was done; who may see it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import WebSocket from 'ws';
import { Gateway, measurable, own, shared, until } from './lib/gateway.mjs';
import { violations } from './lib/schema.mjs';

const schema = JSON.parse(readFileSync(new URL('lib/status.schema.json', import.meta.url), 'utf8'));
const password = 'correct horse battery staple';
const basic = text => ({ authorization: `Basic ${Buffer.from(text).toString('base64')}` });
const bearer = { authorization: `Bearer ${password}` };

async function status(gateway, options) {
  const response = await gateway.get('/status.json', options);
  assert.equal(response.status, 200);
  const value = await response.json();
  assert.deepEqual(violations(schema, value), []);
  return value;
}

/** The stream: `frames` so far, next() for a new one, and how it ended. */
async function watch(t, gateway, { path = '/status/live', ...options } = {}) {
  const socket = new WebSocket(`ws://127.0.0.1:${gateway.admin}${path}`, options);
  const stream = { socket, frames: [], closed: once(socket, 'close') };
  t.after(() => socket.terminate());
  socket.on('message', data => stream.frames.push(JSON.parse(data)));
  stream.next = async () => {
    const had = stream.frames.length;
    await until('a frame', () => stream.frames.length > had, 10000);
    return stream.frames.at(-1);
  };
  await once(socket, 'open');
  return stream;
}

/** A client of the raw endpoint, connected; `received` counts its messages. */
async function subscribe(t, gateway, topics, { secure = false } = {}) {
  const socket = new WebSocket(`${secure ? 'wss' : 'ws'}://127.0.0.1:${secure ? gateway.wss : gateway.ws}/ws?topic=${topics}`, { ca: gateway.certificate.pem });
  const client = { socket, received: 0 };
  t.after(() => socket.terminate());
  socket.on('message', () => client.received++).on('error', () => {});
  await once(socket, 'open');
  return client;
}

/** Status of the answer to an upgrade that is refused; 101 otherwise. */
function upgrade(gateway, options) {
  const socket = new WebSocket(`ws://127.0.0.1:${gateway.admin}/status/live`, options);
  return new Promise(resolve => {
    socket.on('unexpected-response', (request, response) => { request.destroy(); resolve(response.statusCode); });
    socket.on('open', () => { socket.terminate(); resolve(101); });
    socket.on('error', () => {});
  });
}

describe('status', () => {
  const gateway = shared({ before, after }, {}, { topics: { 'chat:*': { history_size: 10, history_ttl: '60s' } } });

  test('tells what connected, what was published, and to whom it went', async t => {
    const target = gateway(), first = await status(target);
    assert.equal(first.state.phase, 'running');
    const ws = [], wss = [];
    for (let i = 0; i < 12; i++) ws.push(await subscribe(t, target, `news&topic=user:${i}`));
    for (let i = 0; i < 5; i++) wss.push(await subscribe(t, target, 'prices', { secure: true }));
    await target.subscribed('news', 12);
    const messages = 40, payload = 'x'.repeat(100);
    for (let i = 0; i < messages; i++) await target.probe.publish('news', payload);
    for (let i = 0; i < 10; i++) await target.probe.publish('prices', payload);
    await until('all is delivered', async () => (await target.metric('pushgate_deliveries_total')) === 12 * messages + 50);
    const seen = await until('the sample of it', async () => {
      const value = await status(target);
      return Math.max(...value.series.deliveries) > 0 && value.topics.by_traffic.top.length >= 2 && value.topics.by_subscribers.top[0]?.subscribers === 12 && value;
    });
    assert.equal(seen.connections.open, 17);
    assert.deepEqual(seen.connections.by_transport, { ws: 12, wss: 5 });
    assert.equal(seen.connections.by_adapter.raw, 17);
    assert.equal(seen.connections.by_reactor.reduce((a, b) => a + b), 17);
    assert.equal(seen.connections.by_reactor.length, 2);
    assert.equal(seen.totals.accepts - first.totals.accepts, 17);
    assert.equal(seen.totals.handshakes_full - first.totals.handshakes_full, 5);
    assert.equal(seen.totals.publishes - first.totals.publishes, messages + 10);
    assert.equal(seen.totals.deliveries, 12 * messages + 50);
    assert.equal(seen.topics.count, 14);
    assert.deepEqual(seen.topics.by_subscribers.top.slice(0, 3), [{ topic: 'news', subscribers: 12 }, { topic: 'prices', subscribers: 5 }, { topic: 'user:0', subscribers: 1 }]);
    assert.equal(seen.topics.by_subscribers.complete, true);
    assert.deepEqual(seen.topics.by_traffic.top, [{ topic: 'news', messages, deliveries: 12 * messages, bytes: 12 * messages * 100 },
      { topic: 'prices', messages: 10, deliveries: 50, bytes: 5000 }]);
    assert.ok(seen.latency_ms.last_minute.count > 0 && seen.latency_ms.last_minute.p50 <= seen.latency_ms.last_minute.p99);
    assert.ok(seen.latency_ms.last_minute.max < 10000);
    assert.equal(seen.certificates.length, 1);
    assert.ok(Math.abs(seen.certificates[0].seconds_left - 2 * 86400) < 3600, 'a certificate of two days');
    assert.ok(Math.abs(seen.memory.resident_bytes - target.rss()) < 16 << 20);
    assert.equal(seen.pid, target.pid);

    for (const client of [...ws, ...wss]) client.socket.close();
    const after = await until('all are gone', async () => {
      const value = await status(target);
      return value.connections.open === 0 && value.topics.by_subscribers.top.length === 0 && value;
    }, 10000);
    assert.equal(after.closes.find(({ reason }) => reason === 'peer_closed').last_minute, 17);
    assert.equal(after.topics.count, 0);
  });

  test('the series of the last minutes add up to the totals', async t => {
    const target = gateway(), stream = await watch(t, target), client = await subscribe(t, target, 'sums');
    await target.subscribed('sums');
    const before = (await status(target)).totals.publishes;
    const began = (await stream.next()).series.newest;
    for (let i = 0; i < 300; i++) { await target.probe.publish('sums', 'x'); if (i % 100 === 0) await sleep(300); }
    await until('all have come', () => client.received === 300);
    await stream.next();
    const end = await stream.next(), after = await status(target);
    assert.equal(after.totals.publishes - before, 300);
    const seconds = after.series.newest - began, row = after.series.publishes.slice(-seconds);
    const sum = row.reduce((a, b) => a + b, 0);
    assert.ok(Math.abs(sum - 300) <= (measurable ? 45 : 90), `${sum} of 300 in ${JSON.stringify(row)}`); // samples may be late
    assert.ok(end.series.count <= 10);
    for (const [name, values] of Object.entries(after.series))
      if (Array.isArray(values)) assert.equal(values.length, after.series.count, name);
  });

  test('its stream brings a frame each second, the first with all, and answers ping and close', async t => {
    const stream = await watch(t, gateway());
    await until('five frames', () => stream.frames.length >= 5, 10000);
    for (const frame of stream.frames) assert.deepEqual(violations(schema, frame), []);
    const newest = stream.frames.map(frame => frame.series.newest);
    for (let i = 1; i < newest.length; i++) assert.ok(newest[i] > newest[i - 1], `${newest}`);
    if (measurable) assert.ok(newest.at(-1) - newest[0] <= newest.length + 1, `a frame a second: ${newest}`);
    const { series } = await status(gateway());
    assert.equal(stream.frames[0].series.count, series.count - (series.newest - newest[0]), 'the first has all that there was');
    assert.ok(stream.frames.slice(1).every(frame => frame.series.count <= 10));
    stream.socket.ping('are you there');
    assert.equal(String((await once(stream.socket, 'pong'))[0]), 'are you there');
    stream.socket.close(1000);
    assert.equal((await stream.closed)[0], 1000);
    const talkative = await watch(t, gateway());
    talkative.socket.send('hello');
    assert.equal((await talkative.closed)[0], 1008);
    const broken = await watch(t, gateway());
    broken.socket._socket.write(Buffer.from([0xf1, 0x80, 0, 0, 0, 0]));
    assert.equal((await broken.closed)[0], 1002);
  });

  test('who does not read holds nobody up, and no more than one frame waits for him', async t => {
    const raw = net.connect(gateway().admin, '127.0.0.1');
    t.after(() => raw.destroy());
    raw.write('GET /status/live HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n' +
      'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n');
    await once(raw, 'readable');
    raw.pause();
    const stream = await watch(t, gateway());
    await stream.next();
    await stream.next();
    assert.equal((await gateway().get('/healthz')).status, 200);
  });

  test('slow consumers are those with output waiting', async t => {
    const target = gateway(), client = await subscribe(t, target, 'slow');
    await target.subscribed('slow');
    client.socket._socket.pause();
    const payload = 'x'.repeat(20000);
    const slow = await until('somebody is slow', async () => {
      await target.probe.publish('slow', payload);
      const value = (await status(target)).slow_consumers;
      return value.connections > 0 && value;
    }, 20000);
    assert.equal(slow.connections, 1);
    assert.ok(slow.bytes > 0 && slow.bytes <= slow.bytes_each_max + 30000, JSON.stringify(slow));
    client.socket.terminate();
    await until('nobody is', async () => (await status(target)).slow_consumers.connections === 0);
  });

  test('twenty thousand topics are walked in slices, and publishers are served meanwhile', { skip: !measurable }, async t => {
    const target = await own(t, { 'limits.topics_per_connection': 255 });
    const wide = [];
    for (let c = 0; c < 80; c++)
      wide.push(subscribe(t, target, Array.from({ length: 250 }, (_, i) => `t${c}.${i}`).join('&topic=')));
    await Promise.all(wide);
    const crowd = [await subscribe(t, target, 't7.7'), await subscribe(t, target, 't7.7'), await subscribe(t, target, 't9.9')];
    const found = await until('the crowd is found', async () => {
      const { by_subscribers: top, count } = (await status(target)).topics;
      return top.complete && count === 20000 && top.top[0].subscribers === 3 && top;
    }, 15000);
    assert.deepEqual(found.top.slice(0, 3).map(({ topic, subscribers }) => [topic, subscribers]), [['t7.7', 3], ['t9.9', 2], ['t0.0', 1]]);
    assert.equal(found.top.length, 20);
    crowd.forEach(client => client.socket.close());
  });

  test('without a password it is shown by address and localhost only, and to no page of another site', async () => {
    const target = gateway();
    const asked = host => new Promise((resolve, reject) => {
      const socket = net.connect(target.admin, '127.0.0.1', () => socket.end(`GET /status.json HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`));
      socket.setEncoding('utf8').once('data', text => resolve(Number(text.split(' ')[1]))).once('error', reject);
    });
    assert.equal(await asked(`127.0.0.1:${target.admin}`), 200);
    assert.equal(await asked(`localhost:${target.admin}`), 200);
    assert.equal(await asked('rebound.example'), 403);
    assert.equal(await upgrade(target, { origin: `http://127.0.0.1:${target.admin}` }), 101);
    assert.equal(await upgrade(target, { origin: 'http://evil.example' }), 403);
    assert.equal(await upgrade(target, { headers: { host: 'rebound.example' }, origin: 'http://rebound.example' }), 403);
    assert.equal((await target.get('/status/live')).status, 426);
    assert.equal((await target.get('/status/live', { method: 'POST', body: '' })).status, 405);
  });

  test('streams are bounded in number', async t => {
    const streams = [];
    const raw = [];
    for (let i = 0; i < 40; i++) raw.push(upgradeAndHold(t, gateway()));
    streams.push(...await Promise.all(raw));
    const taken = streams.filter(code => code === 101).length;
    assert.ok(taken <= 32 && taken >= 20, `${taken} were taken`);
    assert.ok(streams.includes(503));
  });
});

function upgradeAndHold(t, gateway) {
  const socket = new WebSocket(`ws://127.0.0.1:${gateway.admin}/status/live`);
  t.after(() => socket.terminate());
  return new Promise(resolve => {
    socket.on('unexpected-response', (request, response) => { request.destroy(); resolve(response.statusCode); });
    socket.on('open', () => resolve(101));
    socket.on('error', () => {});
  });
}

describe('status with a password', () => {
  const gateway = shared({ before, after }, { 'admin.password': password }, { ready: true });

  test('everything but probes asks for it, as Bearer or Basic', async () => {
    for (const path of ['/', '/metrics', '/status', '/status.json', '/status/page.js', '/status/live']) {
      const none = await gateway().get(path);
      assert.equal(none.status, 401, path);
      assert.match(none.headers.get('www-authenticate'), /Basic realm="pushgate", charset="UTF-8"/);
      assert.equal((await gateway().get(path, { headers: basic('ops:wrong') })).status, 401, path);
      const expected = path === '/status/live' ? 426 : 200;
      assert.equal((await gateway().get(path, { headers: basic(`ops:${password}`) })).status, expected, path);
      assert.equal((await gateway().get(path, { headers: bearer })).status, expected, path);
    }
    for (const path of ['/healthz', '/readyz']) assert.equal((await gateway().get(path)).status, 200, path);
  });

  test('the stream opens with the password, or with the ticket that the page brought, and with nothing else', async () => {
    assert.equal(await upgrade(gateway(), {}), 401);
    assert.equal(await upgrade(gateway(), { headers: basic(`x:${password}`) }), 101);
    assert.equal(await upgrade(gateway(), { headers: bearer }), 101);
    const page = await gateway().get('/status', { headers: bearer });
    const cookie = page.headers.get('set-cookie');
    assert.match(cookie, /^pushgate_status_[0-9a-f]{8}=\d+\.[0-9a-f]{32}; Path=\/status\/live; Max-Age=43200; HttpOnly; SameSite=Strict$/);
    const ticket = cookie.split(';')[0];
    assert.equal(await upgrade(gateway(), { headers: { cookie: `a=b; ${ticket}` } }), 101);
    assert.equal(await upgrade(gateway(), { headers: { cookie: ticket }, origin: 'http://evil.example' }), 403);
    const forged = ticket.replace(/=(\d+)/, (_, until) => `=${Number(until) + 1}`);
    assert.equal(await upgrade(gateway(), { headers: { cookie: forged } }), 401);
    assert.equal((await gateway().get('/metrics', { headers: { cookie: ticket } })).status, 401, 'the ticket is for the stream only');
    assert.equal((await gateway().get('/status.json', { headers: { ...bearer, host: 'gateway.example' } })).status, 200, 'names are fine with a password');
  });

  test('publishing asks for it when there is no publish.password', async () => {
    const post = headers => gateway().get('/publish?topic=a', { method: 'POST', body: 'x', headers }).then(({ status: code }) => code);
    assert.equal(await post({}), 401);
    assert.equal(await post(bearer), 200);
  });

  test('who guesses has to wait, and is counted', async () => {
    const codes = [];
    for (let i = 0; i < 40; i++) codes.push((await gateway().get('/metrics', { headers: basic(`ops:${i}`) })).status);
    assert.ok(codes.includes(429), `${codes}`);
    assert.equal((await gateway().get('/healthz')).status, 200);
    const metrics = await until('the address may try again', async () => {
      const response = await gateway().get('/metrics', { headers: bearer });
      return response.status === 200 && response.text();
    }, 5000);
    assert.match(metrics, /pushgate_admin_refused_total\{reason="throttled"\} [1-9]/);
    await until('the log says so', () => /event=admin_secret_wrong address=127\.0\.0\.1/.test(gateway().stderr));
    assert.ok(!gateway().stderr.includes(password));
  });
});

test('the stream says that a stop is under way, and ends with 1001', async t => {
  const gateway = await own(t, { 'drain.grace': '1500ms', 'drain.timeout': '2s' });
  await subscribe(t, gateway, 'drained');
  const stream = await watch(t, gateway);
  await stream.next();
  gateway.process.kill('SIGTERM');
  assert.equal((await stream.closed)[0], 1001);
  const last = stream.frames.at(-1).state;
  assert.ok(['grace', 'draining', 'stopping'].includes(last.phase), last.phase);
  assert.equal(last.ready, false);
  assert.equal(last.drain.connections, 1);
  await gateway.ended;
});

test('beyond loopback it does not start without a password', async () => {
  const gateway = await Gateway.start({ 'listen.admin': '0.0.0.0:19999' }, { ready: false });
  const { code } = await gateway.ended;
  assert.notEqual(code, 0);
  assert.match(gateway.stderr, /listen\.admin: 0\.0\.0\.0:19999 can be reached from other machines.*set admin\.password/);
});
