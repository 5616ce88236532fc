// Clients that do not read, and clients that never rest: what backends publish to all others goes on.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { measurable, own, patience, until } from './lib/gateway.mjs';
import { frame, open, TEXT } from './lib/wire.mjs';

const quiet = { 'idle.timeout': '0', 'idle.ping_interval': '0' };
const MIB = 2 ** 20;
const times = (n, make) => Array.from({ length: n }, (_, i) => make(i));

/** What `promise` brings, or a failure: a publisher that is held back is never answered. */
async function soon(what, promise, milliseconds = 5000) {
  let timer;
  const late = new Promise((resolve, reject) => { timer = setTimeout(() => reject(new Error(`not within ${milliseconds * patience} ms: ${what}`)), milliseconds * patience); });
  try { return await Promise.race([promise, late]); } finally { clearTimeout(timer); }
}

for (const transport of ['ws', 'wss']) {
  test(`over ${transport}, publishing goes on while readers are stalled with full outboxes`, async t => {
    const gateway = await own(t, { ...quiet, 'limits.inflight_bytes': '1MiB', 'limits.outbox_bytes': '4MiB' });
    const stalled = await Promise.all(times(4, i => open(gateway, transport, `/ws?topic=own${i}`)));
    const reader = await open(gateway, transport, '/ws?topic=others');
    stalled.forEach(wire => wire.pause());
    const publisher = await gateway.publisher();
    // Whatever the kernel takes, and then more than may be in flight, each message for one of them only.
    for (let i = 0; i < 400 && await gateway.metric('pushgate_outbox_bytes') < 3 * MIB; i++)
      await soon('to those that do not read', publisher.pipeline(times(8, n => ['PUBLISH', `own${(8 * i + n) % 4}`, Buffer.alloc(60000)])));
    assert.ok(await gateway.metric('pushgate_outbox_bytes') >= 3 * MIB);
    for (let i = 0; i < 100; i++) {
      assert.equal(await soon('to one that reads', publisher.publish('others', Buffer.alloc(60000, i))), 1);
      assert.equal((await reader.frame()).payload[0], i);
    }
    await until('nothing is in flight', async () => await gateway.metric('pushgate_inflight_bytes') === 0);
    assert.equal(await gateway.metric('pushgate_closes_total', 'reason="slow_consumer"'), 0, 'and nobody had to be closed for it');
    [reader, ...stalled].forEach(wire => wire.destroy());
    await until('their memory is back', async () => await gateway.metric('pushgate_outbox_memory_bytes') === 0);
  });

  test(`over ${transport}, limits.outbox_memory bounds what many stalled readers hold, and who reads stays`, async t => {
    const gateway = await own(t, { ...quiet, 'limits.outbox_bytes': '1MiB', 'limits.outbox_memory': '2MiB', 'limits.close_timeout': '1s' });
    const reader = await open(gateway, transport, '/ws?topic=others');
    const stalled = await Promise.all(times(12, i => open(gateway, transport, `/ws?topic=own${i}`)));
    stalled.forEach(wire => wire.pause());
    const publisher = await gateway.publisher();
    let most = 0, closed = 0;
    for (let i = 0; i < 400 && closed < 6; i++) {
      const reached = await publisher.pipeline(times(12, n => ['PUBLISH', `own${n}`, Buffer.alloc(30000)]));
      closed = reached.filter(count => count === 0).length;
      assert.equal(await publisher.publish('others', `${i}`), 1);
      assert.equal((await reader.frame()).text, `${i}`);
      most = Math.max(most, await gateway.metric('pushgate_outbox_memory_bytes'));
    }
    assert.ok(closed >= 6, `${closed} were closed`);
    await until('their closes are counted', async () => await gateway.metric('pushgate_closes_total', 'reason="slow_consumer"') >= 6);
    assert.ok(most > MIB, `${most} bytes at most: the bound was never near`);
    assert.ok(most < 3 * MIB, `${most} bytes at most`); // a look may fall between a fan-out and the end of its turn
    [reader, ...stalled].forEach(wire => wire.destroy());
    await until('their memory is back', async () => await gateway.metric('pushgate_outbox_memory_bytes') === 0);
  });
}

test('backends get through while clients publish without rest', async t => {
  const gateway = await own(t, { ...quiet, 'limits.inflight_bytes': '64KiB' }, { topics: { 'talk:*': { publish: 'subscribers' } } });
  const listeners = await Promise.all(times(100, () => open(gateway, 'ws', '/ws?topic=talk:a')));
  listeners.forEach(wire => wire.socket.removeAllListeners('data').resume());
  const flooders = await Promise.all(times(4, () => open(gateway, 'ws', '/connection/websocket')));
  let flooding = true;
  for (const wire of flooders) {
    wire.write(frame(TEXT, '{"id":1,"connect":{}}'));
    await wire.frame();
    wire.write(frame(TEXT, '{"id":2,"subscribe":{"channel":"talk:a"}}'));
    await wire.frame();
    wire.socket.removeAllListeners('data').resume();
    const block = Buffer.concat(times(30, i => frame(TEXT, `{"id":${3 + i},"publish":{"channel":"talk:a","data":"${'flood '.repeat(300)}"}}`)));
    const flood = () => { while (flooding && wire.socket.write(block)); };
    wire.socket.on('drain', flood);
    flood();
  }
  const publisher = await gateway.publisher();
  const reached = listeners.length + flooders.length;
  const start = Date.now();
  for (let i = 0; i < 300; i++) assert.equal(await soon(`a backend's message ${i}`, publisher.publish('talk:a', 'a backend'.repeat(100))), reached);
  flooding = false;
  if (measurable) assert.ok(Date.now() - start < 8000, `${Date.now() - start} ms for 300 messages`);
  [...flooders, ...listeners].forEach(wire => wire.destroy());
});
