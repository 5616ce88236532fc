// RFC 6455 on /echo, over both transports: the cases of lib/cases.mjs, how bytes may be cut, and the closing handshake.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { cases } from './lib/cases.mjs';
import { own, shared } from './lib/gateway.mjs';
import { relay } from './lib/relay.mjs';
import { BINARY, close, CLOSE, dial, frame, open, PING, PONG, TEXT } from './lib/wire.mjs';

async function play(gateway, transport, { send, echo, either = [], together }) {
  const wire = await open(gateway, transport, '/echo');
  try {
    if (together) wire.write(Buffer.concat(send));
    else for (const bytes of send) wire.write(bytes);
    for (const expected of Array.isArray(echo) ? echo : [echo]) {
      const answer = await wire.frame();
      assert.ok(answer, 'a frame comes before the end');
      assert.equal(answer.rsv, 0);
      assert.equal(answer.fin, true);
      if (typeof expected === 'number') {
        assert.equal(answer.opcode, CLOSE, `opcode ${answer.opcode} with ${answer.payload.length} bytes`);
        assert.ok([expected, ...either].includes(answer.code), `close code ${answer.code}, not ${expected}`);
        wire.write(close(answer.code === 1005 ? 1000 : answer.code)); // the other half of the handshake, where the gateway began it
        assert.equal((await wire.rest()).length, 0, 'nothing comes after a close frame');
      } else {
        assert.equal(answer.opcode, expected[0]);
        assert.ok(answer.payload.equals(Buffer.from(expected[1])), `the payload of ${expected[1].length} bytes`);
      }
    }
  } finally {
    wire.destroy();
  }
}

for (const transport of ['ws', 'wss']) {
  describe(`conformance over ${transport}`, () => {
    const gateway = shared({ before, after });
    for (const [group, list] of Object.entries(cases)) {
      describe(group, () => {
        for (const one of list) test(one.name, () => play(gateway(), transport, one));
      });
    }

    test('frames byte by byte', async () => {
      const wire = await open(gateway(), transport, '/echo');
      const bytes = Buffer.concat([frame(TEXT, 'slowly', { fin: false }), frame(PING, 'p'), frame(0, ' but surely'), frame(BINARY, Buffer.alloc(300, 3))]);
      for (const byte of bytes) {
        wire.write(Buffer.of(byte));
        await new Promise(resolve => setImmediate(resolve));
      }
      assert.equal((await wire.frame()).opcode, PONG);
      assert.equal((await wire.frame()).text, 'slowly but surely');
      assert.ok((await wire.frame()).payload.equals(Buffer.alloc(300, 3)));
      wire.destroy();
    });

    test('a large frame cut at every kind of place', async () => {
      const wire = await open(gateway(), transport, '/echo');
      const bytes = frame(BINARY, Buffer.from(Array.from({ length: 65536 }, (_, i) => i * 7)));
      for (let at = 0, step = 1; at < bytes.length; at += step, step = step * 3 % 20011) {
        wire.write(bytes.subarray(at, at + step));
        await new Promise(resolve => setImmediate(resolve));
      }
      assert.ok((await wire.frame()).payload.equals(Buffer.from(Array.from({ length: 65536 }, (_, i) => i * 7))));
      wire.destroy();
    });

    test('netpoll#226: a frame that comes with the end of the stream is answered', async () => {
      const wire = await open(gateway(), transport, '/echo');
      wire.socket.end(frame(TEXT, 'last words'));
      if (transport === 'ws') assert.equal((await wire.frame()).text, 'last words');
      await wire.rest();
      wire.destroy();
    });

    test('a close frame that comes with the end of the stream is a clean close', async () => {
      await gateway().connections(0); // those of the tests before are counted
      const clean = () => gateway().metric('pushgate_closes_total', 'reason="peer_closed"');
      const before = await clean();
      const wire = await open(gateway(), transport, '/echo');
      wire.socket.end(close(1000));
      await wire.rest();
      wire.destroy();
      await gateway().connections(0); // the end of the stream may be seen before the gateway has counted it
      assert.equal(await clean(), before + 1);
    });

    test('the gateway ends the stream after the closing handshake, and does not wait for the client to', async () => {
      const wire = await open(gateway(), transport, '/echo');
      wire.write(close(1000, 'bye'));
      assert.equal((await wire.frame()).code, 1000);
      assert.equal((await wire.rest()).length, 0);
      assert.equal(wire.error, null);
      wire.destroy();
    });
  });
}

test('TLS records byte by byte, and several in one segment', async t => {
  const gateway = await own(t);
  let held = null, queue = Promise.resolve();
  const { port, upstream } = await relay(t, gateway.wss, { forward: (data, to) => {
    if (held) { held.push(data); return; }
    queue = queue.then(async () => {
      for (const byte of data) { to.write(Buffer.of(byte)); await new Promise(resolve => setImmediate(resolve)); }
    });
  } });

  const wire = await open(gateway, 'wss', '/echo', { Host: 'x' }, { port });
  wire.write(frame(TEXT, 'one byte at a time'));
  assert.equal((await wire.frame()).text, 'one byte at a time');
  held = [];
  for (let i = 0; i < 20; i++) {
    wire.write(frame(TEXT, `held ${i}`));
    await new Promise(resolve => setTimeout(resolve, 2));
  }
  upstream().write(Buffer.concat(held));
  for (let i = 0; i < 20; i++) assert.equal((await wire.frame()).text, `held ${i}`);
  wire.destroy();
});

test('a client that never answers a close frame is dropped after limits.close_timeout', async t => {
  const gateway = await own(t, { 'limits.close_timeout': '200ms' });
  const wire = await open(gateway, 'ws', '/echo');
  wire.write(frame(3, 'x'));
  assert.equal((await wire.frame()).code, 1002);
  const start = Date.now();
  await wire.rest();
  assert.ok(Date.now() - start < 3000);
  await gateway.connections(0);
  wire.destroy();
});

test('the end of a connection before, between and after its upgrade harms nothing', async t => {
  const gateway = await own(t);
  for (const transport of ['ws', 'wss']) {
    for (const bytes of ['', 'GET', 'GET /echo HTTP/1.1\r\nHost: x\r\n']) {
      const wire = await dial(gateway, transport);
      wire.socket.end(bytes);
      await wire.rest();
      wire.destroy();
    }
    const wire = await open(gateway, transport, '/echo');
    wire.write(frame(TEXT, 'unfinished', { claim: 100 }));
    wire.socket.end();
    await wire.rest();
    wire.destroy();
  }
  await gateway.connections(0);
});
