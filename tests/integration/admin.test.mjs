// What operators see: /metrics, /healthz, /readyz, /status, POST /publish; and how the program starts and refuses to.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { binary, own, shared, until } from './lib/gateway.mjs';
import { close, CLOSE, frame, open, TEXT } from './lib/wire.mjs';

/** Runs a command to its end with `input`: { code, out }. */
async function run(command, args, { input = '', cwd } = {}) {
  const child = spawn(command, args, { stdio: 'pipe', cwd });
  let out = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', text => { out += text; });
  child.stdin.on('error', () => {}); // it may end before it has read
  child.stdin.end(input);
  const [code] = await once(child, 'close');
  return { code, out };
}

describe('admin listener', () => {
  const gateway = shared({ before, after });

  test('/healthz and /readyz answer 200, an unknown path 404, a wrong method 405', async () => {
    assert.equal((await gateway().get('/healthz')).status, 200);
    assert.equal((await gateway().get('/readyz')).status, 200);
    assert.equal((await gateway().get('/nowhere')).status, 404);
    assert.equal((await gateway().get('/metrics', { method: 'DELETE' })).status, 405);
  });

  test('/metrics passes promtool', async () => {
    const response = await gateway().get('/metrics');
    assert.match(response.headers.get('content-type'), /^text\/plain/);
    const { code, out } = await run('promtool', ['check', 'metrics'], { input: await response.text() });
    assert.equal(code, 0, out);
    assert.equal(out, '');
  });

  test('/metrics counts what happens: connections, messages, closes by reason', async () => {
    const names = ['pushgate_opened_total', 'pushgate_publishes_total', 'pushgate_deliveries_total', 'pushgate_publish_reached_total', 'pushgate_received_frames_total'];
    const read = async () => Promise.all(names.map(name => gateway().metric(name)));
    const earlier = await read();
    const wires = [await open(gateway(), 'ws', '/ws?topic=counted'), await open(gateway(), 'wss', '/ws?topic=counted'), await open(gateway(), 'wss', '/echo')];
    await gateway().subscribed('counted', 2);
    assert.equal(await gateway().metric('pushgate_connections', 'adapter="raw"', 'transport="ws"'), 1);
    assert.equal(await gateway().metric('pushgate_connections', 'adapter="raw"', 'transport="wss"'), 1);
    assert.equal(await gateway().metric('pushgate_connections', 'adapter="echo"', 'transport="wss"'), 1);
    assert.equal(await gateway().metric('pushgate_topics'), 1);
    for (let i = 0; i < 5; i++) assert.equal(await gateway().probe.publish('counted', 'x'), 2);
    for (const wire of wires.slice(0, 2)) for (let i = 0; i < 5; i++) assert.equal((await wire.frame()).text, 'x');
    wires[2].write(frame(TEXT, 'hi'));
    assert.equal((await wires[2].frame()).text, 'hi');
    for (const wire of wires) {
      wire.write(close(1000));
      assert.equal((await wire.frame()).opcode, CLOSE);
      await wire.rest();
      wire.destroy();
    }
    await gateway().connections(0);
    const later = await read();
    assert.deepEqual(later.map((value, i) => value - earlier[i]), [3, 5, 10, 10, 4]);
    assert.ok(await gateway().metric('pushgate_closes_total', 'reason="peer_closed"') >= 3);
    assert.equal(await gateway().metric('pushgate_topics'), 0);
    assert.equal(await gateway().metric('pushgate_outbox_bytes'), 0);
    assert.equal(await gateway().metric('pushgate_inflight_bytes'), 0);
  });

  test('POST /publish publishes and says to how many', async () => {
    const wire = await open(gateway(), 'wss', '/ws?topic=posted%20here');
    await gateway().subscribed('posted here');
    const before = await gateway().metric('pushgate_publishes_total');
    const response = await gateway().get('/publish?topic=posted%20here', { method: 'POST', body: 'from http' });
    assert.equal(response.status, 200);
    assert.deepEqual(await response.json(), { queued: 1 });
    assert.equal((await wire.frame()).text, 'from http');
    await until('it is counted', async () => (await gateway().metric('pushgate_publishes_total')) === before + 1);
    assert.equal((await gateway().get('/publish', { method: 'POST', body: 'x' })).status, 400);
    assert.equal((await gateway().get('/publish?topic=a', { method: 'POST', body: Buffer.alloc(65537) })).status, 413);
    wire.destroy();
  });
});

test('/readyz answers 503 while the gateway drains', async t => {
  const gateway = await own(t, { 'drain.timeout': '1s' });
  const wire = await open(gateway, 'ws', '/ws?topic=a');
  gateway.process.kill('SIGTERM');
  await wire.frame();
  const response = await gateway.get('/readyz').catch(error => error);
  if (!(response instanceof Error)) assert.equal(response.status, 503);
  wire.destroy();
});

describe('the command line', () => {
  
  test('--version and --help', async () => {
    assert.match((await run(binary, ['--version'])).out, /^pushgate \d+\.\d+/);
    const { code, out } = await run(binary, ['--help']);
    assert.equal(code, 0);
    for (const key of ['listen.wss', 'limits.outbox_bytes', 'drain.timeout', 'demo.enabled']) assert.ok(out.includes(key.split('.')[1]), key);
  });
  test('an unknown key, a bad value and a value out of range are errors with their place, before any listener opens', async () => {
    for (const [args, says] of [
      [['--limits.conections=5'], /limits\.conections.*limits\.connections/s],
      [['--idle.timeout=soon'], /idle\.timeout/],
      [['--limits.connections=999999999999'], /limits\.connections: 999999999999 is too large; allowed: /],
      [['--listen.wss=127.0.0.1:0'], /tls\.certificate/],
    ]) {
      const { code, out } = await run(binary, args);
      assert.notEqual(code, 0, args[0]);
      assert.match(out, says);
    }
  });
  test('an error in the file names file and line', async t => {
    const gateway = await own(t);
    const file = join(gateway.folder, 'bad.conf');
    writeFileSync(file, '[listen]\nws = 127.0.0.1:1\n\n[demo]\nenabled = maybe\n');
    const { code, out } = await run(binary, ['--config', file]);
    assert.notEqual(code, 0);
    assert.match(out, /bad\.conf:5: .*demo\.enabled/);
  });
  test('a port that is taken is an error that names it', async t => {
    const gateway = await own(t);
    const { code, out } = await run(binary, [`--listen.ws=127.0.0.1:${gateway.admin}`, '--auth.anonymous=on']);
    assert.notEqual(code, 0);
    assert.match(out, new RegExp(`127\\.0\\.0\\.1:${gateway.admin}.*in use`));
  });
  test('a private key that is not the certificate\'s is an error', async t => {
    const gateway = await own(t);
    const { code, out } = await run(binary, ['--listen.wss=127.0.0.1:0', '--auth.anonymous=on', `--tls.certificate=${gateway.certificate.certificate}`, `--tls.private_key=${gateway.certificate.certificate}`]);
    assert.notEqual(code, 0);
    assert.match(out, /private_key|private key/);
  });
});
