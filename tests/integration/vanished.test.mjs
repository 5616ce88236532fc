// gnet#185, gnet#341: a peer's host vanishes, and its packets are dropped without a word. Needs root for a network namespace of its own.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import WebSocket from 'ws';
import { own, until } from './lib/gateway.mjs';

const ip = (...args) => execFileSync('ip', args, { stdio: 'pipe' });

/** Another host: a namespace behind a veth pair. Returns our address, its name, and how to make it vanish. */
function host(t) {
  const id = process.pid % 30000, name = `pgtest${id}`, ours = `pga${id}`, theirs = `pgb${id}`;
  const net = `10.213.${id % 250}`;
  ip('netns', 'add', name);
  t.after(() => ip('netns', 'del', name));
  ip('link', 'add', ours, 'type', 'veth', 'peer', 'name', theirs, 'netns', name);
  t.after(() => ip('link', 'del', ours)); // the namespace alone lives on while a socket in it retransmits
  ip('addr', 'add', `${net}.1/24`, 'dev', ours);
  ip('link', 'set', ours, 'up');
  ip('-n', name, 'addr', 'add', `${net}.2/24`, 'dev', theirs);
  ip('-n', name, 'link', 'set', theirs, 'up');
  // A neighbour that stays known: what is sent goes out and is lost, instead of failing to find it.
  const mac = JSON.parse(ip('-n', name, '-j', 'link', 'show', theirs))[0].address;
  ip('neigh', 'replace', `${net}.2`, 'lladdr', mac, 'dev', ours, 'nud', 'permanent');
  return { name, address: `${net}.1`, vanish: () => ip('-n', name, 'addr', 'flush', 'dev', theirs) };
}

test('gnet#341: a peer whose host has vanished costs others nothing and is evicted on time', { skip: process.getuid() !== 0 && 'needs root' }, async t => {
  const { name, address, vanish } = host(t);
  const port = 18000 + process.pid % 2000;
  const gateway = await own(t, { 'listen.ws': `${address}:${port}`, 'idle.timeout': '3s', 'idle.ping_interval': '1s' });
  const far = spawn('ip', ['netns', 'exec', name, process.execPath, fileURLToPath(new URL('lib/subscriber.mjs', import.meta.url)),
    `ws://${address}:${port}/ws?topic=hole`], { stdio: 'inherit' });
  t.after(() => far.kill('SIGKILL'));
  const near = new WebSocket(`ws://${address}:${port}/ws?topic=hole`);
  t.after(() => near.terminate());
  let got = 0;
  near.on('message', data => { assert.equal(Number(data), got); got++; });
  await gateway.subscribed('hole', 2);
  vanish();
  const gone = performance.now(), publisher = await gateway.publisher();
  for (let i = 0; i < 500; i++) await publisher.command('PUBLISH', 'hole', String(i));
  await until('the near one has all', () => got === 500);
  await until('the vanished one is evicted', async () => (await gateway.metric('pushgate_closes_total', 'reason="idle_timeout"')) === 1, 8000);
  assert.ok(performance.now() - gone > 1500, 'not before its time');
  await gateway.connections(1);
  assert.equal(await gateway.metric('pushgate_outbox_bytes'), 0);
});
