// Why and how connections end: idleness, pings, drain, and what a reload of the certificate does not end.
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { copyFileSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeCertificate, own, patience, until } from './lib/gateway.mjs';
import { relay } from './lib/relay.mjs';
import { close, CLOSE, dial, frame, open, PING, PONG, TEXT } from './lib/wire.mjs';

for (const transport of ['ws', 'wss']) {
  describe(`closing over ${transport}`, () => {
    test('a connection of which nothing is heard is closed with 1001 after idle.timeout', async t => {
      const gateway = await own(t, { 'idle.timeout': '600ms', 'idle.ping_interval': '0' });
      const start = Date.now();
      const wire = await open(gateway, transport, '/ws?topic=a');
      const last = await wire.frame();
      assert.equal(last.opcode, CLOSE);
      assert.equal(last.code, 1001);
      const took = Date.now() - start;
      assert.ok(took >= 550 && took < 2500 * patience, `after ${took} ms`);
      wire.write(close(1001));
      await wire.rest();
      wire.destroy();
      await until('it is counted', async () => (await gateway.metric('pushgate_closes_total', 'reason="idle_timeout"')) === 1); // wss: after our end of TCP
    });

    test('what the client sends, a pong too, puts idle.timeout off', async t => {
      const gateway = await own(t, { 'idle.timeout': '800ms', 'idle.ping_interval': '0' });
      const wire = await open(gateway, transport, '/ws?topic=a');
      for (let i = 0; i < 8; i++) {
        await sleep(200);
        wire.write(frame(PONG));
      }
      wire.write(frame(PING, 'alive'));
      assert.equal((await wire.frame()).text, 'alive');
      wire.destroy();
    });

    test('pings are sent every idle.ping_interval; who answers stays, who does not goes', async t => {
      const gateway = await own(t, { 'idle.timeout': '1s', 'idle.ping_interval': '200ms' });
      const polite = await open(gateway, transport, '/ws?topic=a'), mute = await open(gateway, transport, '/ws?topic=a');
      const start = Date.now();
      let pings = 0;
      while (Date.now() - start < 1800) {
        const ping = await polite.frame();
        assert.equal(ping.opcode, PING);
        polite.write(frame(PONG, ping.payload));
        pings++;
      }
      assert.ok(pings >= 4 && pings <= 12, `${pings} pings`);
      let last;
      while ((last = await mute.frame()).opcode === PING);
      assert.equal(last.code, 1001);
      assert.ok(await gateway.metric('pushgate_pings_total') >= pings);
      polite.destroy();
      mute.destroy();
    });

    test('SIGTERM closes with 1001, answers what is under way, and ends with status 0', async t => {
      const gateway = await own(t);
      const wires = [];
      for (let i = 0; i < 20; i++) wires.push(await open(gateway, transport, '/ws?topic=a'));
      gateway.process.kill('SIGTERM');
      for (const wire of wires) {
        assert.equal((await wire.frame()).code, 1001);
        wire.write(close(1001));
        await wire.rest();
        assert.equal(wire.error, null);
        wire.destroy();
      }
      assert.deepEqual(await gateway.ended, { code: 0, signal: null });
    });
  });
}

test('nchan#674: pings keep an idle connection alive through a proxy that cuts idle ones', async t => {
  const gateway = await own(t, { 'idle.ping_interval': '300ms', 'idle.timeout': '5s' });
  const { port } = await relay(t, gateway.ws, { idle: 1000 * patience });
  const wire = await open(gateway, 'ws', '/ws?topic=quiet', {}, { port });
  for (const end = Date.now() + 2500 * patience; Date.now() < end;) {
    const ping = await wire.frame();
    assert.equal(ping?.opcode, PING);
    wire.write(frame(PONG, ping.payload));
  }
  assert.equal(await (await gateway.publisher()).publish('quiet', 'still here'), 1);
  let next;
  while ((next = await wire.frame()).opcode === PING);
  assert.equal(next.text, 'still here');
  wire.destroy();
});

test('SIGHUP takes up a new certificate; a bad one is refused and the old one stays; connections live on', async t => {
  const gateway = await own(t);
  const { certificate, key, pem } = gateway.certificate;
  const fingerprint = text => new X509Certificate(text).fingerprint256;
  const wire = await open(gateway, 'wss', '/echo');
  const shown = async () => {
    const other = await dial(gateway, 'wss', { options: { rejectUnauthorized: false } });
    const { fingerprint256 } = other.socket.getPeerX509Certificate();
    other.destroy();
    return fingerprint256;
  };
  assert.equal(await shown(), fingerprint(pem));

  const next = makeCertificate(gateway.folder, 'next');
  copyFileSync(next.certificate, certificate);
  copyFileSync(next.key, key);
  gateway.process.kill('SIGHUP');
  await until('the new certificate is shown', async () => (await shown()) === fingerprint(next.pem));

  const spoken = gateway.stderr.length;
  writeFileSync(certificate, 'not a certificate');
  gateway.process.kill('SIGHUP');
  await until('it says that the reload failed', async () => /certificate/.test(gateway.stderr.slice(spoken)));
  assert.equal(await shown(), fingerprint(next.pem));

  copyFileSync(makeCertificate(gateway.folder, 'third').certificate, certificate); // of another key
  gateway.process.kill('SIGHUP');
  await sleep(300);
  assert.equal(await shown(), fingerprint(next.pem));

  wire.write(frame(TEXT, 'through it all'));
  assert.equal((await wire.frame()).text, 'through it all');
  wire.destroy();
});
