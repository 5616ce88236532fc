// Ctrl-C on pushgate-load while it waits for others: before there is anything to report it just ends, afterwards a second one ends at once.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { flawed } from './lib/flawed.mjs';
import { makeCertificate, until } from './lib/gateway.mjs';
import { run } from './lib/load.mjs';

const connections = 40, soon = 10000;

let folder, certificate;
before(() => { folder = mkdtempSync(join(tmpdir(), 'pushgate-load-')); certificate = makeCertificate(folder); });
after(() => rmSync(folder, { recursive: true }));

/** Accepts connections and says nothing; or hands them on to `port` while `passes()`. */
async function mute(t, port, passes = () => false) {
  const sockets = new Set();
  const server = net.createServer(socket => {
    const keep = one => { sockets.add(one); one.on('error', () => {}).on('close', () => sockets.delete(one)); };
    keep(socket);
    if (!passes()) return server.emit('held');
    const onward = net.connect(port, '127.0.0.1');
    keep(onward);
    socket.pipe(onward).pipe(socket);
    socket.on('close', () => onward.destroy());
    onward.on('close', () => socket.destroy());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => { for (const socket of sockets) socket.destroy(); server.close(); });
  return { server, port: server.address().port };
}

describe('before connections are opened, a signal ends it', () => {
  for (const signal of ['SIGINT', 'SIGTERM']) {
    test(`${signal} while the endpoint to publish to does not answer`, async t => {
      const { target } = await flawed(t);
      const { server, port } = await mute(t);
      const result = await run('fanout', { target, connections, messages: 1, publish: `127.0.0.1:${port}` },
        { onStart: child => once(server, 'held').then(() => child.kill(signal)) });
      assert.equal(result.signal, signal);
    });
  }

  test('while a session ticket is fetched', async t => {
    const { server, port } = await mute(t);
    const result = await run('idle', { target: `wss://127.0.0.1:${port}/`, insecure: true, resume: true, connections, 'connect-timeout': '1h' },
      { onStart: child => once(server, 'held').then(() => child.kill('SIGINT')) });
    assert.equal(result.signal, 'SIGINT');
  });
});

test('a storm that waits for a session ticket gives up at the first signal', async t => {
  const { seen, target } = await flawed(t, { certificate });
  const { server, port } = await mute(t, Number(new URL(target).port), () => seen().connections < connections);
  let told;
  const { code, report, text } = await run('storm', {
    target: `wss://127.0.0.1:${port}/ws?topic=load`, cafile: certificate.certificate, connections, handshakes: 'resumed', hold: 0, 'connect-timeout': '1h',
  }, { onStart: child => once(server, 'held').then(() => { told = performance.now(); child.kill('SIGINT'); }) });
  assert.ok(performance.now() - told < soon, text);
  assert.equal(code, 3, text);
  assert.deepEqual(report.unchecked, ['a storm with resumed handshakes: it did not take place']);
  assert.equal(report.connections.probes_answered, connections);
});

describe('a second signal ends the run at once, although --settle is an hour', () => {
  /** SIGINTs until it has ended: those within half a second of each other count as one. */
  function insist(child) {
    child.kill('SIGINT');
    const again = setInterval(() => child.kill('SIGINT'), 600);
    child.on('close', () => clearInterval(again));
  }
  for (const [fault, { what, mode, options, reached, unchecked }] of Object.entries({
    mute: { what: 'while the endpoint does not reply', mode: 'fanout', options: { messages: 10 }, reached: ({ messages }) => messages > 0, unchecked: /under way arrive/ },
    drop: { what: 'while messages are missing', mode: 'fanout', options: { messages: 100000 }, reached: ({ messages }) => messages > 5, unchecked: /under way arrive/ },
    silent: { what: 'while pongs are missing', mode: 'idle', options: { hold: 0 }, unchecked: /whose pong had not come/ },
  })) {
    test(what, async t => {
      const { seen, target, publish } = await flawed(t, { fault });
      let told;
      const begin = child => { told = performance.now(); insist(child); };
      const { code, report, text } = await run(mode, { target, ...(mode === 'fanout' && { publish }), connections, settle: '1h', ...options }, {
        onStart: child => reached && until('the moment for the signal', () => reached(seen()), 20000).then(() => begin(child)),
        onReady: child => reached ?? begin(child),
      });
      assert.ok(performance.now() - told < soon, text);
      assert.equal(code, 3, text);
      assert.ok(report.interrupted);
      assert.match(report.unchecked.join('\n'), unchecked);
      if (fault === 'mute') {
        assert.equal(report.messages.unconfirmed, report.messages.published);
        assert.equal(report.messages.publish_error, '');
      }
    });
  }
});
