// Garbage on every listener: it costs the one who sends it a connection, and nobody else anything.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { own, shared, until } from './lib/gateway.mjs';
import { relay } from './lib/relay.mjs';
import { dial, frame, open } from './lib/wire.mjs';

const http = {
  'random bytes': randomBytes(4096),
  'zeros': Buffer.alloc(20000),
  'a line without end': Buffer.alloc(100000, 'a'),
  'a TLS record of a wrong type': Buffer.from('1703030010000102030405060708090a0b0c0d0e0f', 'hex'),
  'a TLS record that claims 65535 bytes': Buffer.concat([Buffer.from('160301ffff', 'hex'), randomBytes(2000)]),
  'a ClientHello cut short': Buffer.from('160301002001000001fc0303', 'hex'),
  'an unknown method': Buffer.from('BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n'),
  'HTTP/3.0': Buffer.from('GET / HTTP/3.0\r\nHost: x\r\n\r\n'),
  'an HTTP/2 preface': Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  'bare line feeds and spaces': Buffer.from('GET /ws?topic=a HTTP/1.1\nHost : x\n\n'),
  'a request with two lengths': Buffer.from('POST /publish?topic=a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!'),
  'a request with length and chunks': Buffer.from('POST /publish?topic=a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'),
  'a body of 2^64 bytes': Buffer.from('POST /publish?topic=a HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551616\r\n\r\n'),
  'a NUL in a header': Buffer.from('GET /ws?topic=a HTTP/1.1\r\nHost: x\0y\r\n\r\n'),
};

const resp = {
  'random bytes': Buffer.concat([Buffer.from('*'), randomBytes(4096)]),
  'an array of a billion': '*1000000000\r\n',
  'a bulk string of a terabyte': '*2\r\n$7\r\nPUBLISH\r\n$1000000000000\r\n',
  'a length that is no number': '*1\r\n$abc\r\n',
  'a length that overflows': '*1\r\n$99999999999999999999999\r\n',
  'no bulk string in an array': '*1\r\n:5\r\n',
  'a missing line end after a bulk string': '*1\r\n$4\r\nPINGxx',
  'an inline line of a megabyte': Buffer.alloc(1 << 20, 'a'),
  'unbalanced quotes': 'PUBLISH a "b\r\n',
};

describe('malformed input', () => {
  const gateway = shared({ before, after }, { 'limits.handshake_timeout': '1s' });

  let bystanders = 0;
  /** Runs `attack` while two subscribers and a publisher look on, and checks that these saw nothing of it. */
  async function unharmed(attack) {
    const topic = `bystander${bystanders++}`;
    const onlookers = [await open(gateway(), 'ws', `/ws?topic=${topic}`), await open(gateway(), 'wss', `/ws?topic=${topic}`)];
    try {
      await gateway().subscribed(topic, 2);
      await attack();
      assert.equal(await gateway().probe.publish(topic, 'fine'), 2);
      for (const wire of onlookers) assert.equal((await wire.frame()).text, 'fine');
    } finally {
      onlookers.forEach(wire => wire.destroy());
    }
    assert.equal(gateway().exit, null);
  }

  for (const listener of ['ws', 'wss', 'admin']) {
    for (const [name, bytes] of Object.entries(http)) {
      test(`${listener}: ${name}`, () => unharmed(async () => {
        const wire = await dial(gateway(), 'ws', { port: gateway()[listener] });
        wire.write(bytes);
        wire.socket.end();
        const answer = await wire.rest();
        if (listener !== 'wss' && answer.length > 0) assert.match(answer.toString('latin1'), /^HTTP\/1\.1 (4\d\d|50[15]) /);
        wire.destroy();
      }));
    }
  }
  for (const [name, bytes] of Object.entries(http)) {
    test(`inside TLS: ${name}`, () => unharmed(async () => {
      const wire = await dial(gateway(), 'wss');
      wire.write(bytes);
      wire.socket.end();
      const answer = await wire.rest();
      if (answer.length > 0) assert.match(answer.toString('latin1'), /^HTTP\/1\.1 (4\d\d|50[15]) /);
      wire.destroy();
    }));
  }
  for (const [name, bytes] of Object.entries(resp)) {
    test(`publish: ${name}: a protocol error, and that connection is closed`, () => unharmed(async () => {
      const wire = await dial(gateway(), 'ws', { port: gateway().publish });
      wire.write(bytes);
      const answer = (await wire.rest()).toString('latin1');
      if (wire.error?.code !== 'ECONNRESET') assert.match(answer, /^-ERR Protocol error/m);
      wire.destroy();
    }));
  }
  for (const transport of ['ws', 'wss']) {
    test(`garbage after an upgrade over ${transport}`, () => unharmed(async () => {
      for (let i = 0; i < 50; i++) {
        const wire = await open(gateway(), transport, '/echo');
        wire.write(randomBytes(1 + i * 40));
        wire.socket.end();
        await wire.rest();
        wire.destroy();
      }
    }));
  }
  test('a forged TLS record: the alert bad_record_mac, counted', t => unharmed(async () => {
    const before = await gateway().metric('pushgate_closes_total', 'reason="tls_error"');
    const { port, upstream } = await relay(t, gateway().wss);
    const wire = await open(gateway(), 'wss', '/echo', {}, { port });
    upstream().write(Buffer.concat([Buffer.from('1703030040', 'hex'), randomBytes(64)]));
    await wire.rest();
    assert.match(String(wire.error), /bad record mac/i);
    await until('the close is counted', async () => (await gateway().metric('pushgate_closes_total', 'reason="tls_error"')) === before + 1);
  }));
  test('a TLS record longer than the protocol allows: the alert record_overflow', t => unharmed(async () => {
    const { port, upstream } = await relay(t, gateway().wss);
    const wire = await open(gateway(), 'wss', '/echo', {}, { port });
    upstream().write(Buffer.concat([Buffer.from('170303ffff', 'hex'), randomBytes(64)]));
    await wire.rest();
    assert.match(String(wire.error), /record.overflow/i);
  }));
  test('a publisher that stops in the middle of a command holds up nobody', () => unharmed(async () => {
    const wire = await dial(gateway(), 'ws', { port: gateway().publish });
    wire.write('*3\r\n$7\r\nPUBLISH\r\n$9\r\nbyst');
    await sleep(50);
  }));
  test('200 connections that say nothing', () => unharmed(async () => {
    const wires = await Promise.all(Array.from({ length: 200 }, (_, i) => dial(gateway(), 'ws', { port: gateway()[['ws', 'wss', 'admin', 'publish'][i % 4]] })));
    await sleep(20);
    wires.forEach(wire => wire.destroy());
  }));
});

test('a flood of bad clients is logged at a limited rate', async t => {
  const gateway = await own(t);
  for (let i = 0; i < 300; i++) {
    const wire = await open(gateway, 'ws', '/echo');
    wire.write(frame(3, 'x'));
    await wire.frame();
    wire.destroy();
  }
  await gateway.connections(0);
  assert.equal(await gateway.metric('pushgate_closes_total', 'reason="protocol_error"'), 300);
  assert.ok(gateway.stderr.split('\n').length < 150, `${gateway.stderr.split('\n').length} lines`);
});
