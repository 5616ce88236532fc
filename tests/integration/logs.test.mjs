// Where lines of the log go: a file that logrotate takes away, the journal, a disk that is full.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import WebSocket from 'ws';
import { Gateway, own, until } from './lib/gateway.mjs';

const root = process.getuid() === 0;
let folder;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'pushgate-logs-'));
  chmodSync(folder, 0o777);
});
after(() => rmSync(folder, { recursive: true, force: true }));

const text = path => existsSync(path) ? readFileSync(path, 'utf8') : '';

test('log.file has every line from the listeners on, and SIGUSR1 opens it anew, also for process.user', async t => {
  const path = join(folder, 'gateway.log');
  const gateway = await Gateway.start({ 'log.file': path, ...(root ? { 'process.user': 'nobody' } : {}) });
  assert.match(text(path), /^time=\S+ level=info event=listening listener=publish /);
  assert.match(text(path), /event=ready /);
  assert.doesNotMatch(gateway.stderr, /event=(listening|ready)/);
  assert.equal(statSync(path).mode & 0o777, 0o640);
  if (root) assert.equal(statSync(path).uid, Number(execFileSync('id', ['-u', 'nobody'])));
  renameSync(path, `${path}.1`);
  gateway.process.kill('SIGUSR1');
  await until('the new file is there', () => /event=log_reopened/.test(text(path)));
  gateway.process.kill('SIGHUP');
  await until('lines go there', () => /event=(reloaded|reload_failed)/.test(text(path)));
  const old = text(`${path}.1`);
  await gateway.stop();
  assert.equal(text(`${path}.1`), old);
  assert.match(text(path), /event=stopped version=\S+\n$/);
});

test('a log.file that cannot be opened ends the start, and says so on stderr', async () => {
  const gateway = await Gateway.start({ 'log.file': '/nonexistent/gateway.log' }, { ready: false });
  assert.equal((await gateway.ended).code, 1);
  assert.match(gateway.stderr, /log\.file: cannot open \/nonexistent\/gateway\.log: No such file or directory/);
  rmSync(gateway.folder, { recursive: true, force: true });
});

test('a full disk is counted, told on stderr once, and nothing else', async t => {
  const gateway = await own(t, { 'log.file': '/dev/full' });
  for (let i = 0; i < 3; i++) gateway.process.kill('SIGHUP');
  await until('lines are lost', async () => await gateway.metric('pushgate_log_lines_lost_total', 'reason="write"') >= 3);
  assert.equal(gateway.stderr.match(/log\.file \/dev\/full: cannot write: No space left on device/g).length, 1);
  assert.equal((await gateway.get('/readyz')).status, 200);
});

/** Lines of the access log as [{ key: value }]. */
const accesses = log => log.split('\n').filter(line => / event=access /.test(line))
  .map(line => Object.fromEntries([...line.matchAll(/(\w+)=("(?:[^"\\]|\\.)*"|\S*)/g)].map(([, key, value]) => [key, value])));

test('the access log has each connection at its end and each refused request, also when log.level is error', async t => {
  const gateway = await own(t, { 'log.access': 1, 'log.level': 'error', 'idle.ping_interval': 0 });
  const socket = new WebSocket(`wss://127.0.0.1:${gateway.wss}/ws?topic=news&token=`, { ca: gateway.certificate.pem });
  await once(socket, 'open');
  const { localPort } = socket._socket;
  const message = once(socket, 'message');
  await (await gateway.publisher()).command('PUBLISH', 'news', 'x'.repeat(10000));
  await message;
  socket.close(1000);
  const [line] = await until('its line', () => accesses(gateway.stderr).length > 0 && accesses(gateway.stderr));
  const { level, client, path, status, adapter, transport, reason } = line;
  assert.deepEqual({ level, client, path, status, adapter, transport, reason }, { level: 'info', client: `127.0.0.1:${localPort}`, path: '/ws', status: '101', adapter: 'raw', transport: 'wss',
    reason: 'peer_closed' });
  assert.ok(Number(line.bytes_out) > 10000 && Number(line.bytes_out) < 20000);
  assert.ok(Number(line.bytes_in) > 300 && Number(line.bytes_in) < 5000);
  assert.ok(Number(line.duration_ms) < 20000);
  const base = `http://127.0.0.1:${gateway.ws}`;
  for (const path of ['/ws?topic=a', '/nowhere/secret?x=y', '/demo.css']) await (await fetch(base + path)).text();
  const lines = await until('their lines', () => accesses(gateway.stderr).length > 3 && accesses(gateway.stderr).slice(1));
  assert.deepEqual(lines.map(({ path, status, transport }) => `${transport} ${path} ${status}`), ['ws /ws 426', 'ws other 404', 'ws /demo.css 200']);
});

test('of so many closes one is in the access log, and a client that is reset still has its address', async t => {
  const gateway = await own(t, { 'log.access': 4, 'threads.reactors': 1 });
  for (let i = 0; i < 20; i++) {
    const socket = new WebSocket(`ws://127.0.0.1:${gateway.ws}/ws?topic=news`);
    await once(socket, 'open');
    socket._socket.resetAndDestroy();
    await once(socket, 'close');
  }
  await gateway.connections(0);
  const lines = await until('their lines', () => accesses(gateway.stderr).length === 5 && accesses(gateway.stderr));
  for (const { client, reason } of lines) {
    assert.match(client, /^127\.0\.0\.1:\d+$/);
    assert.equal(reason, 'peer_reset');
  }
});

test('no line of the access log is lost or split while logrotate takes the file away under load', async () => {
  const path = join(folder, 'access.log');
  const gateway = await Gateway.start({ 'log.file': path, 'log.access': 1, 'log.format': 'json' });
  const connections = 400;
  let files = 0, going = true;
  const rotating = (async () => {
    while (going) {
      if (existsSync(path)) {
        renameSync(path, `${path}.${files++}`);
        gateway.process.kill('SIGUSR1');
      }
      await sleep(5);
    }
  })();
  await Promise.all(Array.from({ length: 8 }, async () => {
    for (let i = 0; i < connections / 8; i++) {
      const socket = new WebSocket(`ws://127.0.0.1:${gateway.ws}/ws?topic=news`);
      await once(socket, 'open');
      socket.close(1000);
      await once(socket, 'close');
    }
  }));
  going = false;
  await rotating;
  await gateway.stop();
  const seen = new Set();
  for (let i = 0; i <= files; i++) {
    const whole = text(i < files ? `${path}.${i}` : path);
    if (whole) assert.ok(whole.endsWith('\n'));
    for (const line of whole.split('\n').filter(Boolean)) {
      const { event, conn } = JSON.parse(line);
      if (event === 'access') {
        assert.ok(!seen.has(conn));
        seen.add(conn);
      }
      assert.notEqual(event, 'log_lost');
    }
  }
  assert.equal(seen.size, connections);
  assert.ok(files > 3);
});

test('lines begin with their priority when stderr is the journal, and only then', async t => {
  // Which socket is the journal's, systemd tells by device and inode.
  const journal = ['bash', '-c', 'JOURNAL_STREAM="$(stat -L -c %d:%i /proc/self/fd/2)" exec "$@"', 'bash'];
  const gateway = await own(t, {}, { wrap: journal });
  await until('the line is there', () => /^<6>time=\S+ level=info event=ready /m.test(gateway.stderr));
  const json = await own(t, { 'log.format': 'json' }, { wrap: journal });
  await until('the line is there', () => /^<6>\{"time":"[^"]+","level":"info","event":"ready"/m.test(json.stderr));
  const never = await own(t, { 'log.priorities': 'off' }, { wrap: journal });
  await until('the line is there', () => /^time=\S+ level=info event=ready /m.test(never.stderr));
  const elsewhere = await own(t, {}, { wrap: ['env', 'JOURNAL_STREAM=1:2'] });
  await until('the line is there', () => /^time=\S+ level=info event=ready /m.test(elsewhere.stderr));
});
