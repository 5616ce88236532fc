// Where lines of the log go: a file that logrotate takes away, the journal, a disk that is full.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
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
