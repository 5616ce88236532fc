// What an HTTP request gets on the client listeners: upgrades, refusals, origins, TLS versions, the demo page.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import tls from 'node:tls';
import { own, shared } from './lib/gateway.mjs';
import { attempt, dial, frame, open, PING, PONG, upgradeHeaders } from './lib/wire.mjs';

for (const transport of ['ws', 'wss']) {
  describe(`upgrade over ${transport}`, () => {
    const gateway = shared({ before, after });
    const refused = (title, status, path, headers, method) => test(`${title}: ${status}`, async () => {
      const response = await attempt(gateway(), transport, path, headers, method);
      assert.equal(response.status, status);
      assert.ok(response.body.length > 0, 'a sentence says why');
      return response;
    });

    test('a right request: 101 with Sec-WebSocket-Accept, and no extension', async () => {
      const response = await attempt(gateway(), transport, '/ws?topic=a', { 'Sec-WebSocket-Extensions': 'permessage-deflate' });
      assert.equal(response.status, 101);
      assert.equal(response.headers.upgrade.toLowerCase(), 'websocket');
      assert.equal(response.headers.connection.toLowerCase(), 'upgrade');
      assert.equal(response.headers['sec-websocket-extensions'], undefined);
    });
    test('header names, Upgrade and Connection in any case and in lists: 101', async () => {
      const wire = await dial(gateway(), transport);
      const response = await wire.request('/ws?topic=a', { hOST: 'x', upgrade: 'WebSocket', CONNECTION: 'keep-alive, UPGRADE',
        'sec-websocket-KEY': 'dGhlIHNhbXBsZSBub25jZQ==', 'sec-websocket-version': '13' });
      assert.equal(response.status, 101);
      wire.destroy();
    });
    test('percent escapes in a topic: 101', async () => {
      assert.equal((await attempt(gateway(), transport, '/ws?topic=a%20b&topic=%C3%A9&other=1')).status, 101);
    });

    refused('no topic', 400, '/ws');
    refused('an empty topic', 400, '/ws?topic=');
    refused('a broken escape in a topic', 400, '/ws?topic=%g1');
    refused('a topic that is not UTF-8', 400, '/ws?topic=%ff');
    refused('a topic of 256 bytes', 400, `/ws?topic=${'t'.repeat(256)}`);
    refused('33 topics', 400, `/ws?${Array.from({ length: 33 }, (_, i) => `topic=t${i}`).join('&')}`);
    refused('no key', 400, '/ws?topic=a', { 'Sec-WebSocket-Key': undefined });
    refused('a key that is not 16 bytes', 400, '/ws?topic=a', { 'Sec-WebSocket-Key': 'c2hvcnQ=' });
    refused('two keys', 400, '/ws?topic=a', { 'Sec-WebSocket-Key': ['dGhlIHNhbXBsZSBub25jZQ==', 'dGhlIHNhbXBsZSBub25jZR=='] });
    refused('no version', 400, '/ws?topic=a', { 'Sec-WebSocket-Version': undefined });
    refused('no Host', 400, '/ws?topic=a', { Host: undefined });
    refused('a path that is not there', 404, '/nowhere');
    refused('a path that only begins like one', 404, '/wsx?topic=a');
    refused('POST', 405, '/ws?topic=a', {}, 'POST');
    refused('a header of 9,000 bytes', 431, '/ws?topic=a', { 'X-Long': 'x'.repeat(9000) });
    refused('200 headers', 431, '/ws?topic=a', { 'X-Many': Array(200).fill('x') });

    for (const version of ['8', '14']) {
      test(`version ${version}: 426 with the version that is spoken`, async () => {
        const response = await attempt(gateway(), transport, '/ws?topic=a', { 'Sec-WebSocket-Version': version });
        assert.equal(response.status, 426);
        assert.equal(response.headers['sec-websocket-version'], '13');
      });
    }
    test('an ordinary GET on a WebSocket path: 426 with Upgrade and version', async () => {
      const response = await attempt(gateway(), transport, '/ws?topic=a', { Upgrade: undefined, Connection: undefined });
      assert.equal(response.status, 426);
      assert.equal(response.headers['sec-websocket-version'], '13');
      assert.match(response.headers.upgrade, /websocket/i);
    });
    test('405 names the method that is allowed', async () => {
      assert.match((await attempt(gateway(), transport, '/ws?topic=a', {}, 'DELETE')).headers.allow, /GET/);
    });
    test('the request byte by byte, and a frame in the same segment as its end: 101 and a pong', async () => {
      const wire = await dial(gateway(), transport);
      const head = `GET /ws?topic=a HTTP/1.1\r\n${Object.entries(upgradeHeaders(gateway(), transport)).map(([n, v]) => `${n}: ${v}\r\n`).join('')}\r`;
      for (const byte of Buffer.from(head)) {
        wire.write(Buffer.of(byte));
        await new Promise(resolve => setImmediate(resolve));
      }
      wire.write(Buffer.concat([Buffer.from('\n'), frame(PING, 'early')]));
      assert.equal((await wire.response()).status, 101);
      const pong = await wire.frame();
      assert.equal(pong.opcode, PONG);
      assert.equal(pong.text, 'early');
      wire.destroy();
    });
    test('the demo page is served on /, under a policy that allows nothing from outside', async () => {
      const response = await attempt(gateway(), transport, '/', { Upgrade: undefined, Connection: 'close' });
      assert.equal(response.status, 200);
      assert.match(response.headers['content-type'], /^text\/html/);
      assert.match(response.headers['content-security-policy'], /default-src 'none'/);
      assert.match(response.body, /<title>pushgate demo<\/title>/);
    });

    test('an Origin of the same host and port: 101', async () => {
      const scheme = transport === 'wss' ? 'https' : 'http';
      assert.equal((await attempt(gateway(), transport, '/ws?topic=a', { Origin: `${scheme}://127.0.0.1:${gateway()[transport]}` })).status, 101);
    });
    for (const origin of ['https://example.org', 'null', 'https://127.0.0.1:1', 'garbage'])
      refused(`Origin ${origin}`, 403, '/ws?topic=a', { Origin: origin });
  });
}

test('listed origins connect, others do not', async t => {
  const gateway = await own(t, { 'listen.origins': 'https://example.org https://two.example:8443' });
  const status = async origin => (await attempt(gateway, 'wss', '/ws?topic=a', { Origin: origin })).status;
  assert.equal(await status('https://example.org'), 101);
  assert.equal(await status('https://EXAMPLE.org:443'), 101);
  assert.equal(await status('https://two.example:8443'), 101);
  assert.equal(await status('http://example.org'), 403);
  assert.equal(await status('https://example.org.evil.test'), 403);
  assert.equal(await status(`https://127.0.0.1:${gateway.wss}`), 403);
  assert.equal(await status(undefined), 101);
});

test('listen.origins=* lets any origin in', async t => {
  const gateway = await own(t, { 'listen.origins': '*' });
  assert.equal((await attempt(gateway, 'ws', '/ws?topic=a', { Origin: 'https://example.org' })).status, 101);
  assert.equal((await attempt(gateway, 'ws', '/ws?topic=a', { Origin: 'null' })).status, 101);
});

test('without demo.enabled there is neither page, nor echo, nor publishing by clients', async t => {
  const gateway = await own(t, { 'demo.enabled': 'off' });
  const plain = { Upgrade: undefined, Connection: undefined };
  assert.equal((await attempt(gateway, 'wss', '/echo')).status, 404);
  assert.equal((await attempt(gateway, 'wss', '/', plain)).status, 404);
  assert.equal((await attempt(gateway, 'wss', '/publish?topic=a', { ...plain, 'Content-Length': '0' }, 'POST')).status, 404);
});

test('mosquitto#270: limits.connections holds over all listeners: 503 with Retry-After, and room again after a close', async t => {
  const gateway = await own(t, { 'limits.connections': 4 });
  const wires = [];
  for (const transport of ['ws', 'wss', 'ws', 'wss']) wires.push(await open(gateway, transport, '/ws?topic=a'));
  for (const transport of ['ws', 'wss']) {
    const response = await attempt(gateway, transport, '/ws?topic=a');
    assert.equal(response.status, 503);
    assert.match(response.headers['retry-after'], /^\d+$/);
  }
  wires[0].destroy();
  await gateway.connections(3);
  wires.push(await open(gateway, 'wss', '/ws?topic=a'));
  wires.forEach(wire => wire.destroy());
});

test('limits.connections_per_ip refuses one address, and lets it in again after a close', async t => {
  const gateway = await own(t, { 'limits.connections_per_ip': 2 });
  const wires = [await open(gateway, 'ws', '/ws?topic=a'), await open(gateway, 'ws', '/ws?topic=a')];
  const third = await dial(gateway, 'ws');
  const response = await third.request('/ws?topic=a', upgradeHeaders(gateway, 'ws')).catch(() => ({ status: 0 }));
  assert.ok([0, 429, 503].includes(response.status), `status ${response.status}`);
  third.destroy();
  wires[0].destroy();
  await gateway.connections(1);
  const again = await open(gateway, 'ws', '/ws?topic=a');
  [again, ...wires].forEach(wire => wire.destroy());
});

test('TLS 1.2 is refused with a protocol_version alert', async t => {
  const gateway = await own(t);
  const error = await new Promise((resolve, reject) => {
    const socket = tls.connect({ host: '127.0.0.1', port: gateway.wss, maxVersion: 'TLSv1.2', ca: gateway.certificate.pem }, () => reject(new Error('it connected')));
    socket.on('error', resolve);
  });
  assert.match(`${error.code} ${error.message}`, /PROTOCOL_VERSION|protocol version/);
});

for (const cipher of ['TLS_AES_128_GCM_SHA256', 'TLS_CHACHA20_POLY1305_SHA256']) {
  test(`${cipher} carries frames both ways`, async t => {
    const gateway = await own(t);
    const wire = await open(gateway, 'wss', '/echo', {}, { options: { ciphers: cipher } });
    assert.equal(wire.socket.getCipher().name, cipher);
    for (const bytes of [0, 1, 1000, 60000]) {
      wire.write(frame(2, Buffer.alloc(bytes, 7)));
      assert.equal((await wire.frame()).payload.length, bytes);
    }
    wire.destroy();
  });
}

test('a session is resumed with a ticket', async t => {
  const gateway = await own(t);
  const first = await dial(gateway, 'wss');
  const ticket = await new Promise(resolve => first.socket.once('session', resolve));
  first.destroy();
  const second = await open(gateway, 'wss', '/echo', {}, { options: { session: ticket } });
  assert.equal(second.socket.isSessionReused(), true);
  second.write(frame(1, 'again'));
  assert.equal((await second.frame()).text, 'again');
  second.destroy();
});

test('a handshake that does not go on ends after limits.handshake_timeout', async t => {
  const gateway = await own(t, { 'limits.handshake_timeout': '300ms' });
  const silent = await dial(gateway, 'ws'), half = await dial(gateway, 'wss'), mute = await dial(gateway, 'ws', { port: gateway.wss });
  half.write('GET /ws?topic=a HTTP/1.1\r\n');
  await Promise.all([silent, half, mute].map(wire => wire.rest()));
  assert.equal(await gateway.metric('pushgate_handshake_failures_total', 'reason="timeout"'), 3);
  [silent, half, mute].forEach(wire => wire.destroy());
});
