// What a service manager hears of the gateway (sd_notify), and the health check for those that ask.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Gateway, binary, until } from './lib/gateway.mjs';

const script = name => fileURLToPath(new URL(`lib/${name}.py`, import.meta.url));

/** A program beside the test; `line()` waits for its next line. */
const run = (...command) => {
  const child = spawn('python3', command, { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return { child, line: async () => (await lines.next()).value, end: () => new Promise(resolve => { child.once('close', resolve); child.stdin.end(); }) };
};

/** A gateway that is told to notify, and what it has said. */
async function notifying(socket, settings = {}, watchdog_us = '') {
  const receiver = run(script('notify_receiver'), socket), messages = [];
  await receiver.line(); // bound
  const listening = (async () => { for (let line; (line = await receiver.line());) messages.push(JSON.parse(line)); })();
  const gateway = await Gateway.start(settings, { wrap: ['env', `NOTIFY_SOCKET=${socket}`, `WATCHDOG_USEC=${watchdog_us}`] });
  const said = text => messages.filter(message => message.lines.some(line => line.startsWith(text)));
  const stop = async () => {
    await gateway.stop();
    receiver.child.kill('SIGKILL');
    await listening;
  };
  return { gateway, messages, said, stop };
}

const value = (message, name) => message.lines.find(line => line.startsWith(`${name}=`))?.slice(name.length + 1);

test('ready when all listen, reloading, stopping: in this order, and from the main process', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'pushgate-test-'));
  const service = await notifying(join(folder, 'notify'), { 'drain.grace': '300ms', 'drain.timeout': '2s', 'limits.close_timeout': '1s' });
  const { gateway, messages, said } = service;
  const ready = await until('READY=1', () => said('READY=1')[0]);
  assert.equal(messages.length, 1);
  assert.equal(value(ready, 'STATUS'), 'Serving 0 connections');
  const files = [gateway.certificate.certificate, gateway.certificate.key].map(path => [path, readFileSync(path)]);
  for (const [path] of files) writeFileSync(path, 'not PEM');
  gateway.process.kill('SIGHUP');
  const failed = await until('READY=1 after the reload', () => said('READY=1')[1]);
  assert.equal(value(failed, 'STATUS'), 'Serving 0 connections; the last reload failed, see the log');
  const asked = process.hrtime.bigint() / 1000n; // CLOCK_MONOTONIC, too
  for (const [path, content] of files) writeFileSync(path, content);
  gateway.process.kill('SIGHUP');
  await until('READY=1 after the second reload', () => said('READY=1')[2]);
  const [before, again] = said('RELOADING=1');
  assert.ok(BigInt(value(before, 'MONOTONIC_USEC')) < asked && asked <= BigInt(value(again, 'MONOTONIC_USEC')));
  assert.equal(value(said('READY=1')[2], 'STATUS'), 'Serving 0 connections');
  gateway.process.kill('SIGTERM');
  const stopping = await until('STOPPING=1', () => said('STOPPING=1')[0]);
  assert.match(value(stopping, 'STATUS'), /^Draining: /);
  assert.equal(value(stopping, 'EXTEND_TIMEOUT_USEC'), String((300 + 2000 + 2000 + 1000 + 1000 + 10000) * 1000), 'grace, timeout, wait for a fan-out, close timeout, the end of threads, a margin');
  await service.stop();
  const steps = messages.map(message => message.lines[0]).filter(line => !line.startsWith('STATUS=')); // those come as time passes
  assert.deepEqual(steps, ['READY=1', 'RELOADING=1', 'READY=1', 'RELOADING=1', 'READY=1', 'STOPPING=1']);
  assert.ok(messages.every(message => message.pid === gateway.pid));
  rmSync(folder, { recursive: true });
});

for (const thread of ['reactor-1', 'acceptor-0', 'publisher', 'admin']) {
  test(`the watchdog starves while ${thread} hangs, and is fed again when it goes on`, async () => {
    const every = 150; // ms between two questions
    const service = await notifying(`@pushgate-test-${process.pid}-${thread}`, {}, String(4 * every * 1000));
    const { gateway, said } = service;
    try {
      await until('two feedings', () => said('WATCHDOG=1').length >= 2);
      const hanging = run(script('hang_thread'), String(gateway.pid), thread);
      assert.equal(await hanging.line(), 'hangs');
      await until('it is named', () => new RegExp(`level=error event=thread_silent thread=${thread}`).test(gateway.stderr));
      const fed = said('WATCHDOG=1').length, since = Date.now();
      await until('two more questions', () => Date.now() - since > 2 * every);
      assert.equal(said('WATCHDOG=1').length, fed);
      await hanging.end();
      await until('it is fed again', () => said('WATCHDOG=1').length > fed);
      await until('its line is written', () => new RegExp(`event=thread_answers thread=${thread}`).test(gateway.stderr));
    } finally {
      await service.stop();
    }
  });
}

test('a notify socket that is not there costs a line, not the service', async () => {
  const gateway = await Gateway.start({}, { wrap: ['env', 'NOTIFY_SOCKET=/nowhere/notify'] });
  await until('the line', () => /event=notify_failed message=READY error="No such file or directory"/.test(gateway.stderr));
  await gateway.stop();
  const confused = await Gateway.start({}, { wrap: ['env', 'NOTIFY_SOCKET=nowhere'] });
  assert.match(confused.stderr, /event=notify_off error="NOTIFY_SOCKET=nowhere: /);
  await confused.stop();
});

test('--probe: 0 while the gateway of these settings serves, 1 with a reason when it does not', async () => {
  const gateway = await Gateway.start();
  const probe = (...settings) => {
    const { status, stdout, stderr } = spawnSync(binary, ['--auth.anonymous=on', ...settings, '--probe'], { encoding: 'utf8' });
    return { status, said: stdout + stderr };
  };
  assert.deepEqual(probe(`--listen.ws=127.0.0.1:${gateway.ws}`, `--listen.admin=127.0.0.1:${gateway.admin}`), { status: 0, said: 'healthy\n' });
  await gateway.stop();
  const gone = probe(`--listen.ws=127.0.0.1:${gateway.ws}`, `--listen.admin=127.0.0.1:${gateway.admin}`);
  assert.deepEqual(gone, { status: 1, said: `pushgate: listen.admin=127.0.0.1:${gateway.admin}: Connection refused\n` });
  assert.equal(probe('--listen.ws=127.0.0.1:1', '--listen.admin=nowhere').status, 1);
});
