// Many connections at once: fan-out to ten thousand, mass eviction, and one process that stops reading.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import WebSocket from 'ws';
import { measurable, own, until } from './lib/gateway.mjs';
import { run } from './lib/load.mjs';

const many = measurable ? 10_000 : 500;
const target = (gateway, transport) => `${transport}://127.0.0.1:${gateway[transport]}/ws?topic=load`;

for (const transport of ['ws', 'wss']) {
  test(`${many} subscribers over ${transport} get every message once and in order`, async t => {
    const gateway = await own(t);
    const { code, report, text } = await run('fanout', {
      target: target(gateway, transport), insecure: true, connections: many, messages: 10, 'publish-rate': 20,
      publish: `127.0.0.1:${gateway.publish}`, settle: '20s',
    });
    assert.equal(code, 0, text);
    assert.equal(report.messages.delivered, many * 10);
    assert.equal(await gateway.metric('pushgate_deliveries_total'), many * 10);
    assert.equal(await gateway.metric('pushgate_drops_total'), 0);
  });
}

test(`${many} silent wss connections are evicted within idle.timeout and a second, and nothing of them is left`, async t => {
  const gateway = await own(t, { 'idle.timeout': '5s', 'idle.ping_interval': 0 });
  const descriptors = gateway.descriptors();
  let last, gone;
  await run('idle', { target: target(gateway, 'wss'), insecure: true, connections: many, hold: `${measurable ? 8 : 20}s` }, {
    onReady: async () => {
      last = performance.now(); // the youngest has been heard last about now
      await until('all are evicted', async () => (await gateway.metric('pushgate_connections')) === 0, 15000);
      gone = performance.now();
    },
  });
  await until('the eviction was seen', () => gone);
  const seconds = (gone - last) / 1000;
  if (measurable) assert.ok(seconds < 6.25, `the last went ${seconds.toFixed(2)} s after it was heard`);
  assert.equal(await gateway.metric('pushgate_closes_total', 'reason="idle_timeout"'), many);
  assert.equal(await gateway.metric('pushgate_wheel_entries'), 0);
  assert.equal(await gateway.metric('pushgate_topics'), 0);
  await until('descriptors are closed', () => gateway.descriptors() <= descriptors + 2);
});

test('a stopped subscriber process is closed at its bound; the others miss none of 20,000 messages; memory falls back', async t => {
  const messages = measurable ? 20_000 : 3_000, subscribers = 5;
  const payload = Buffer.alloc(measurable ? 1024 : 8192, 'x'); // together more than the kernel buffers of one connection hold
  const gateway = await own(t, { 'limits.outbox_bytes': '256KiB', 'limits.close_timeout': '2s' });
  const child = spawn(process.execPath, [fileURLToPath(new URL('lib/subscriber.mjs', import.meta.url)),
    `ws://127.0.0.1:${gateway.ws}/ws?topic=flood`], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  const got = new Array(subscribers).fill(0);
  const sockets = got.map((_, i) => {
    const socket = new WebSocket(target(gateway, 'ws').replace('load', 'flood'));
    socket.addEventListener('message', ({ data }) => {
      assert.equal(Number(data.slice(0, 8)), got[i], 'in order, none missing');
      got[i]++;
    });
    return socket;
  });
  t.after(() => sockets.forEach(socket => socket.close()));
  await gateway.subscribed('flood', subscribers + 1);
  child.kill('SIGSTOP');
  const before = gateway.rss();
  const publisher = await gateway.publisher();
  for (let i = 0; i < messages; i += 100) {
    const replies = [];
    for (let j = i; j < i + 100; j++) replies.push(publisher.command('PUBLISH', 'flood', String(j).padStart(8, '0') + payload.subarray(8)));
    await Promise.all(replies);
  }
  await until('the others have all', () => got.every(n => n === messages), 30000);
  await until('the stopped one is closed', async () => (await gateway.metric('pushgate_closes_total', 'reason="slow_consumer"')) === 1, 20000);
  assert.equal(await gateway.metric('pushgate_connections'), subscribers);
  assert.ok((await gateway.metric('pushgate_drops_total')) > 0, 'what it missed is counted');
  await until('nothing waits', async () => (await gateway.metric('pushgate_outbox_bytes')) === 0);
  if (measurable) {
    await sleep(200);
    assert.ok(gateway.rss() - before < 4 << 20, `RSS is ${(gateway.rss() - before) >> 10} KiB above what it was`);
  }
});
