// Faults that other event loops and gateways had: each test is named after where it was reported. Those that need no whole
// gateway are unit tests; those of the WebSocket protocol are conformance cases.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { measurable, own, shared, until } from './lib/gateway.mjs';
import { attempt, close, CLOSE, dial, frame, open, PING, PONG, TEXT } from './lib/wire.mjs';

const quiet = { 'idle.timeout': '0', 'idle.ping_interval': '0' };
const times = (n, make) => Array.from({ length: n }, (_, i) => make(i));

for (const transport of ['ws', 'wss']) {
  describe(`faults over ${transport}`, () => {
    const gateway = shared({ before, after }, { ...quiet, 'limits.outbox_bytes': '32MiB', 'limits.inflight_bytes': '64MiB' });

    test('evio#61: an idle gateway does not spin after it was woken', async () => {
      const wires = await Promise.all(times(20, i => open(gateway(), transport, `/ws?topic=idle${i % 2}`)));
      await gateway().subscribed('idle0', 10);
      for (let i = 0; i < 300; i++) await gateway().probe.publish(`idle${i % 2}`, 'wake');
      await sleep(200);
      const [wakes, cpu] = [await gateway().metric('pushgate_wakes_total'), gateway().cpu()];
      await sleep(1000);
      const woken = await gateway().metric('pushgate_wakes_total') - wakes;
      assert.ok(woken <= 20, `${woken} wakes in an idle second`);
      if (measurable) assert.ok(gateway().cpu() - cpu <= 30, `${gateway().cpu() - cpu} ms of CPU in an idle second`);
      wires.forEach(wire => wire.destroy());
      await gateway().connections(0);
    });

    test('evio#72: output that is pending is neither overwritten nor does it stop reading', async () => {
      const wire = await open(gateway(), transport, '/ws?topic=full');
      await gateway().subscribed('full');
      wire.pause();
      const payload = i => Buffer.alloc(60000, String(i % 10));
      const answers = await gateway().probe.pipeline(times(200, i => ['PUBLISH', 'full', payload(i)]));
      assert.ok(answers.every(answer => answer === 1));
      await until('the outbox is in use', async () => (await gateway().metric('pushgate_outbox_bytes')) > 0);
      const frames = await gateway().metric('pushgate_received_frames_total');
      wire.write(frame(PING, 'while it is full'));
      await until('the ping is read', async () => (await gateway().metric('pushgate_received_frames_total')) === frames + 1);
      await gateway().probe.pipeline(times(200, i => ['PUBLISH', 'full', payload(200 + i)]));
      wire.resume();
      let pongs = 0;
      for (let i = 0; i < 400;) {
        const next = await wire.frame();
        if (next.opcode === PONG) { pongs++; continue; }
        assert.ok(next.payload.equals(payload(i)), `message ${i}`);
        i++;
      }
      while (pongs < 1 && (await wire.frame()).opcode === PONG) pongs++;
      assert.equal(pongs, 1);
      await until('the outbox is empty', async () => (await gateway().metric('pushgate_outbox_bytes')) === 0);
      wire.destroy();
    });

    test('gnet#303: 3,000 messages that wait for one connection all arrive, in order', async () => {
      const wire = await open(gateway(), transport, '/ws?topic=many');
      await gateway().subscribed('many');
      wire.pause();
      const filler = times(100, () => ['PUBLISH', 'many', Buffer.alloc(60000, 'f')]);
      await gateway().probe.pipeline([...filler, ...times(3000, i => ['PUBLISH', 'many', `small ${i}`])]);
      wire.resume();
      for (let i = 0; i < 100; i++) assert.equal((await wire.frame()).payload.length, 60000);
      for (let i = 0; i < 3000; i++) assert.equal((await wire.frame()).text, `small ${i}`);
      wire.destroy();
    });

    test('gnet#194: no byte crosses connections when descriptors are reused quickly', async () => {
      let running = true;
      const publishing = (async () => {
        const publisher = await gateway().publisher();
        while (running) await publisher.pipeline(times(16, i => ['PUBLISH', `own${i}`, `for own${i}`]));
      })();
      let heard = 0;
      await Promise.all(times(16, async i => {
        for (let round = 0; round < 25; round++) {
          const wire = await open(gateway(), transport, `/ws?topic=own${i}`);
          for (let n = 0; n < 1 + round % 3; n++) {
            assert.equal((await wire.frame()).text, `for own${i}`);
            heard++;
          }
          if (round % 2) wire.destroy();
          else wire.reset();
        }
      }));
      running = false;
      await publishing;
      assert.ok(heard > 16 * 25);
      await gateway().connections(0);
    });

    test('netpoll#280: connections that end while they are handed over leak nothing', async () => {
      await gateway().connections(0);
      const earlier = gateway().descriptors();
      for (let round = 0; round < 20; round++) {
        await Promise.all(times(20, async i => {
          const wire = await dial(gateway(), transport);
          wire.write('GET /ws?topic=race HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
            + 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n');
          if (i % 4 === 1) await new Promise(resolve => setImmediate(resolve));
          if (i % 4 === 2) await wire.response();
          if (i % 2) wire.reset();
          else wire.destroy();
        }));
      }
      await gateway().connections(0);
      await until('all descriptors are back', () => gateway().descriptors() <= earlier + 4); // the admin's own, for /metrics
      assert.equal(await gateway().metric('pushgate_topics'), 0);
    });

    test('gev#111: timers and memory are back after many connections came and went', async () => {
      await gateway().connections(0);
      const timers = await gateway().metric('pushgate_wheel_entries');
      const round = async () => {
        for (let i = 0; i < (measurable ? 40 : 5); i++) {
          await Promise.all(times(20, async n => {
            const wire = await open(gateway(), transport, `/ws?topic=come${n}`);
            if (n % 2) { wire.write(close(1000)); await wire.rest(); }
            wire.destroy();
          }));
        }
        await gateway().connections(0);
      };
      await round();
      const rss = gateway().rss();
      await round();
      assert.equal(await gateway().metric('pushgate_wheel_entries'), timers);
      if (measurable) assert.ok(gateway().rss() - rss < 2 << 20, `RSS grew by ${gateway().rss() - rss} bytes`);
    });

    test('gnet#659: memory falls back after a burst to connections that did not read', async () => {
      if (!measurable) return;
      const wires = await Promise.all(times(30, () => open(gateway(), transport, '/ws?topic=burst')));
      await gateway().subscribed('burst', 30);
      const rss = gateway().rss();
      wires.forEach(wire => wire.pause());
      await gateway().probe.pipeline(times(200, () => ['PUBLISH', 'burst', Buffer.alloc(60000)]));
      wires.forEach(wire => wire.resume());
      for (const wire of wires) for (let i = 0; i < 200; i++) assert.equal((await wire.frame()).payload.length, 60000);
      await until('the outboxes are empty', async () => (await gateway().metric('pushgate_outbox_bytes')) === 0);
      await until('nothing is in flight', async () => (await gateway().metric('pushgate_inflight_bytes')) === 0);
      await until('memory has fallen back', () => gateway().rss() - rss < 6 << 20).catch(error => { throw new Error(`${error.message}: ${(gateway().rss() - rss) >> 10} KiB more than before`); });
      wires.forEach(wire => wire.destroy());
    });

    test('gnet#423: one client that floods does not starve the others', async () => {
      const flooder = await open(gateway(), transport, '/echo');
      const listeners = await Promise.all(times(50, () => open(gateway(), transport, '/ws?topic=calm')));
      await gateway().subscribed('calm', 50);
      const block = Buffer.concat(times(500, () => frame(TEXT, 'flood '.repeat(20))));
      flooder.socket.on('data', () => {});
      let flooding = true;
      const flood = () => { while (flooding && flooder.socket.write(block)); };
      flooder.socket.on('drain', flood);
      flood();
      const worst = [];
      for (let i = 0; i < 20; i++) {
        const start = performance.now();
        assert.equal(await gateway().probe.publish('calm', `tick ${i}`), 50);
        for (const wire of listeners) assert.equal((await wire.frame()).text, `tick ${i}`);
        worst.push(performance.now() - start);
      }
      flooding = false;
      worst.sort((a, b) => a - b);
      if (measurable) assert.ok(worst[10] < 250, `median ${worst[10]} ms until 50 clients have a message`);
      [flooder, ...listeners].forEach(wire => wire.destroy());
    });
  });

  test(`uWebSockets#1337: over ${transport}, a slow consumer is closed at limits.outbox_bytes, has no gap, and is counted`, async t => {
    const gateway = await own(t, { ...quiet, 'limits.outbox_bytes': '256KiB', 'limits.close_timeout': '1s' });
    const slow = await open(gateway, transport, '/ws?topic=slow'), quick = await open(gateway, transport, '/ws?topic=slow');
    await gateway.subscribed('slow', 2);
    slow.pause();
    let reached = 2, sent = 0;
    for (; reached === 2 && sent < 2000; sent++) {
      reached = await gateway.probe.publish('slow', Buffer.alloc(32000, String(sent % 10)));
      assert.equal((await quick.frame()).payload[0], 48 + sent % 10);
      assert.ok(await gateway.metric('pushgate_outbox_bytes') <= 2 * (256 << 10));
    }
    assert.equal(reached, 1, 'the slow one is gone');
    await until('its close is counted', async () => (await gateway.metric('pushgate_closes_total', 'reason="slow_consumer"')) === 1);
    assert.ok(await gateway.metric('pushgate_drops_total') >= 1);
    slow.resume();
    for (let i = 0; ; i++) {
      const next = await slow.frame();
      if (!next || next.opcode === CLOSE) {
        if (next) assert.equal(next.code, 1013);
        assert.ok(i < sent && i > 0);
        break;
      }
      assert.equal(next.payload[0], 48 + i % 10, 'no gap before the close');
    }
    slow.destroy();
    quick.destroy();
  });

  test(`gnet#185: over ${transport}, a peer that stopped reading costs others nothing and is evicted on time`, async t => {
    const gateway = await own(t, { 'idle.timeout': '1500ms', 'idle.ping_interval': '400ms', 'limits.outbox_bytes': '32MiB', 'limits.close_timeout': '300ms' });
    const hung = await open(gateway, transport, '/ws?topic=hung'), well = await open(gateway, transport, '/ws?topic=well&topic=hung');
    await gateway.subscribed('hung', 2);
    hung.pause();
    await gateway.probe.pipeline(times(150, () => ['PUBLISH', 'hung', Buffer.alloc(60000)]));
    const start = Date.now();
    let got = 0;
    while (got < 150) {
      const next = await well.frame();
      if (next.opcode === PING) well.write(frame(PONG, next.payload));
      else got++;
    }
    while (await gateway.metric('pushgate_connections') > 1) {
      const next = await well.frame();
      if (next.opcode === PING) well.write(frame(PONG, next.payload));
      assert.ok(!measurable || Date.now() - start < 6000, 'the hung peer is evicted');
    }
    assert.equal(await gateway.probe.publish('well', 'fine'), 1);
    hung.destroy();
    well.destroy();
  });
}

test('evio#73: a new connection does not wake every acceptor', async t => {
  const gateway = await own(t, { ...quiet, 'threads.acceptors': 6 });
  const earlier = await gateway.metric('pushgate_wakes_total', 'thread="acceptor"');
  for (let i = 0; i < 200; i++) (await open(gateway, 'ws', '/ws?topic=a')).destroy();
  await gateway.connections(0);
  const each = (await gateway.metric('pushgate_wakes_total', 'thread="acceptor"') - earlier) / 200;
  assert.ok(each <= 3.2, `${each} wakes for each connection`); // the listener, the request, at most one for the transfer
});

test('evio, netpoll#311, gnet#367: without descriptors it neither ends nor spins, and accepts again when one is free', async t => {
  const gateway = await own(t, { ...quiet, 'threads.acceptors': 1, 'threads.reactors': 1, 'limits.publishers': 5 }, { wrap: ['sh', '-c', 'ulimit -n 128; exec "$@"', 'sh'] });
  const wires = [];
  for (let refused = 0; refused < 5 && wires.length < 400;) {
    const wire = await dial(gateway, 'ws').catch(() => null);
    const response = await wire?.request('/ws?topic=full', { Host: 'x', Upgrade: 'websocket', Connection: 'Upgrade', 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Version': '13' })
      .catch(() => ({ status: 0 }));
    if (response?.status === 101) wires.push(wire);
    else { refused++; wire?.destroy(); }
  }
  assert.ok(wires.length > 20 && wires.length < 400, `${wires.length} connections with 128 descriptors`);
  const cpu = gateway.cpu();
  await sleep(700);
  if (measurable) assert.ok(gateway.cpu() - cpu < 200, `${gateway.cpu() - cpu} ms of CPU in 700 ms`);
  assert.equal(gateway.exit, null);
  wires.splice(0, 10).forEach(wire => wire.destroy());
  await until('it accepts again', async () => (await attempt(gateway, 'ws', '/ws?topic=again').catch(() => null))?.status === 101, 8000);
  wires.forEach(wire => wire.destroy());
});

test('a reset before accept is harmless', async t => {
  const gateway = await own(t);
  for (const transport of ['ws', 'wss', 'publish', 'admin']) {
    for (let i = 0; i < 100; i++) (await dial(gateway, 'ws', { port: gateway[transport] })).reset();
  }
  for (const transport of ['ws', 'wss']) (await open(gateway, transport, '/ws?topic=a')).destroy();
  assert.equal(await (await gateway.publisher()).command('PING'), 'PONG');
});
