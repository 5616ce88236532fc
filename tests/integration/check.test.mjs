// pushgate --check: says what this machine allows, and its exit status says whether that is enough.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { binary, noUnshare } from './lib/gateway.mjs';

const check = (settings, wrap = [], more = []) => {
  const [command, ...rest] = [...wrap, binary, '--check', ...more, '--listen.ws=127.0.0.1:8080', '--auth.anonymous=on', ...Object.entries(settings).map(([key, value]) => `--${key}=${value}`)];
  const { status, stdout, stderr } = spawnSync(command, rest, { encoding: 'utf8' });
  return { status, stdout, stderr };
};

test('a few connections find every limit large enough', () => {
  const { status, stdout, stderr } = check({ 'limits.connections': 100, 'limits.publishers': 10, 'listen.backlog': 64 });
  assert.equal(stderr, '');
  assert.equal(status, 0, stdout);
  assert.match(stdout, /^settings: good\nplan: 100 connections; /);
  for (const name of ['RLIMIT_NOFILE', 'fs.nr_open', 'fs.file-max', 'net.core.somaxconn', 'net.ipv4.tcp_mem', 'RLIMIT_NPROC', 'MemAvailable'])
    assert.match(stdout, new RegExp(`^  (ok|not shown) +${name.replaceAll('.', '\\.')} `, 'm'));
  assert.doesNotMatch(stdout, /TOO SMALL/);
});

test('more connections than any machine holds: each limit with the line that changes it, exit status 1', () => {
  const { status, stdout } = check({ 'limits.connections': 100000000, 'threads.reactors': 4 });
  assert.equal(status, 1);
  assert.match(stdout, /TOO SMALL +MemAvailable/);
  assert.match(stdout, /TOO SMALL +RLIMIT_NOFILE [^]*LimitNOFILE=25001000\n[^]*threads\.reactors=0/);
  assert.match(stdout, /net\.ipv4\.tcp_mem = 55000000 82500000 110000000\n/);
  if (existsSync('/proc/sys/net/ipv4/tcp_ehash_entries')) assert.match(stdout, /TOO SMALL +net\.ipv4\.tcp_ehash_entries [^]* thash_entries=134217728\n/);
  assert.match(stdout, /deploy\/sysctl\.d\/pushgate\.conf/);
});

test("memory: each part of OPERATIONS.md's formula is shown, and what MemAvailable is held against is their sum", t => {
  const folder = mkdtempSync(join(tmpdir(), 'check-test-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const config = join(folder, 'topics.conf');
  writeFileSync(config, '[topic chat:*]\nhistory_size = 10\n[history]\nmemory = 100MiB\n');
  const { stdout } = check({ 'limits.connections': 1000000, 'limits.inflight_bytes': '50MiB', 'listen.publish': '127.0.0.1:6390' }, [], ['--config', config]);
  const page = readFileSync(new URL('../../deploy/OPERATIONS.md', import.meta.url), 'utf8');
  const number = text => Number(text.replaceAll(',', ''));
  const [, section] = /^memory:\n((?: .*\n)+)machine:$/m.exec(stdout);
  const parts = [...section.matchAll(/^ +([\d,]+) MiB {2}(.*)$/gm)].map(([, size, what]) => ({ size: number(size), what }));
  assert.deepEqual(parts.map(({ size }) => size), [4062, 3906, 100, 50, 256, 128]);
  assert.match(parts[0].what, /^4,260 bytes of each connection, 4,160 of them the kernel's/);
  assert.match(parts[1].what, /one message goes to all: 4,096 bytes/);
  assert.match(page, /connections × \(user \+ 4,160\)/);
  assert.match(page, /`--check` takes 270 over wss and 100 over ws/);
  assert.match(page, /\+ connections × 4,096 /);
  assert.match(page, /\+ 128 MiB /);
  const needed = number(/ MemAvailable +\S+, needed +([\d,]+) {2}MiB/.exec(stdout)[1]), sum = parts.reduce((all, { size }) => all + size, 0);
  assert.ok(needed >= sum && needed < sum + parts.length, `${needed} of ${sum}`);
  assert.match(parts[4].what, /^limits\.outbox_memory$/);
  assert.match(section, /more, at most: publish\.outbox_bytes \(8 MiB\) /);
  assert.doesNotMatch(section, /without bound/);
});

test('log.file and proxy.ca_file are tried as process.user, and nothing is made', { skip: process.getuid() !== 0 && 'needs root' }, t => {
  const folder = mkdtempSync(join(tmpdir(), 'check-test-')), nobody = Number(execFileSync('id', ['-u', 'nobody'])), group = Number(execFileSync('id', ['-g', 'nobody']));
  t.after(() => rmSync(folder, { recursive: true }));
  chmodSync(folder, 0o755);
  const log = join(folder, 'pushgate.log'), ca = join(folder, 'ca.pem');
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=ca', '-keyout', '/dev/null', '-out', ca], { stdio: 'ignore' });
  chmodSync(ca, 0o600);
  const small = { 'limits.connections': 100, 'limits.publishers': 10, 'listen.backlog': 64 }, hooks = { 'proxy.connect': 'https://127.0.0.1:1/', 'proxy.ca_file': ca };
  const good = settings => { const { stderr, status } = check({ ...small, ...settings }); assert.deepEqual({ stderr, status }, { stderr: '', status: 0 }); };
  const bad = (settings, words) => { const { stderr, status } = check({ ...small, ...settings }); assert.equal(status, 1); assert.match(stderr, words); };
  good({ 'log.file': log });
  good(hooks);
  bad({ 'log.file': log, 'process.user': 'nobody' }, /--log\.file: cannot make \S+pushgate\.log: Permission denied/);
  bad({ ...hooks, 'process.user': 'nobody' }, /--proxy\.ca_file: cannot read \S+ca\.pem: Permission denied/);
  chownSync(folder, nobody, group);
  good({ 'log.file': log, 'process.user': 'nobody' });
  assert.deepEqual(readdirSync(folder), ['ca.pem']);
  writeFileSync(log, 'a line\n', { mode: 0o640 });
  bad({ 'log.file': log, 'process.user': 'nobody' }, /--log\.file: cannot append to \S+pushgate\.log: Permission denied/);
  chownSync(log, nobody, group);
  chownSync(ca, 0, group);
  chmodSync(ca, 0o640);
  good({ ...hooks, 'log.file': log, 'process.user': 'nobody' });
  assert.equal(readFileSync(log, 'utf8'), 'a line\n');
});

test('private descriptor tables change what RLIMIT_NOFILE must be', () => {
  const limited = ['bash', '-c', 'ulimit -n 2000; exec "$@"', '-'];
  const settings = { 'limits.connections': 10000, 'limits.publishers': 10 };
  const apart = check(settings, limited);
  assert.match(apart.stdout, /ok +RLIMIT_NOFILE +2,000, /);
  assert.match(apart.stdout, /plan: 10,000 connections; .* reactors of up to 1,984 connections/);
  const together = check({ ...settings, 'threads.private_fds': 'off' }, limited);
  assert.equal(together.status, 1);
  assert.match(together.stdout, /TOO SMALL +RLIMIT_NOFILE +2,000, needed +10,0\d\d [^]*threads\.private_fds=on/);
});

test('where private descriptor tables are forbidden, the plan does without them and says so', () => {
  const settings = { 'limits.connections': 10000, 'limits.publishers': 10 };
  const { status, stdout } = check(settings, ['bash', '-c', 'ulimit -n 2000; exec "$@"', '-', noUnshare]);
  assert.equal(status, 1);
  assert.match(stdout, /^settings: good\nthreads\.private_fds: forbidden here, /);
  assert.match(stdout, /TOO SMALL +RLIMIT_NOFILE +2,000, needed +10,0\d\d [^]*a seccomp profile that allows unshare\(2\)/);
  assert.doesNotMatch(check(settings).stdout, /forbidden/);
});
