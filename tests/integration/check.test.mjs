// pushgate --check: says what this machine allows, and its exit status says whether that is enough.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { binary, noUnshare } from './lib/gateway.mjs';

const check = (settings, wrap = []) => {
  const [command, ...rest] = [...wrap, binary, '--check', '--listen.ws=127.0.0.1:8080', '--auth.anonymous=on', ...Object.entries(settings).map(([key, value]) => `--${key}=${value}`)];
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
