// Which reactor gets a connection, and how many reactors there are.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { availableParallelism } from 'node:os';
import WebSocket from 'ws';
import { noUnshare, own, preset, until } from './lib/gateway.mjs';

async function open(gateway, count) {
  const sockets = Array.from({ length: count }, () => new WebSocket(`ws://127.0.0.1:${gateway.ws}/ws?topic=spread`));
  await Promise.all(sockets.map(socket => new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))));
  return sockets;
}
const loads = async (gateway, reactors) => {
  const metrics = await gateway.metrics();
  return Array.from({ length: reactors }, (_, i) => metrics.get(`pushgate_reactor_connections{reactor="${i}"}`));
};
const started = gateway => Number(/event=ready .*reactors=(\d+)/.exec(gateway.stderr)[1]);

for (const balance of ['least_connections', 'round_robin']) {
  test(`threads.balance=${balance} spreads connections evenly`, async t => {
    const gateway = await own(t, { 'threads.balance': balance, 'threads.reactors': 4 });
    const sockets = await open(gateway, 40);
    assert.deepEqual(await loads(gateway, 4), [10, 10, 10, 10]);
    sockets.forEach(socket => socket.close());
  });
}

test('least_connections fills up what others have left, round_robin goes on in turn', async t => {
  for (const [balance, expected] of [['least_connections', [4, 8]], ['round_robin', [2, 10]]]) {
    const gateway = await own(t, { 'threads.balance': balance, 'threads.reactors': 2, 'threads.acceptors': 1 });
    const sockets = [];
    for (let i = 0; i < 16; i++) sockets.push(...await open(gateway, 1)); // one after the other: they alternate
    assert.deepEqual(await loads(gateway, 2), [8, 8]);
    for (let i = 0; i < 16; i += 2) sockets[i].close(); // all of one reactor
    await gateway.connections(8);
    assert.deepEqual((await loads(gateway, 2)).sort(), [0, 8]);
    sockets.push(...await open(gateway, 4));
    const now = (await loads(gateway, 2)).sort((a, b) => a - b);
    assert.deepEqual(now, expected);
    sockets.forEach(socket => socket.close());
  }
});

test('with many connections, those that follow each other are neighbours in one reactor, and loads stay close', async t => {
  const gateway = await own(t, { 'threads.reactors': 3, 'threads.acceptors': 1, 'limits.connections_per_ip': 0 });
  const first = await open(gateway, 3 * 1023);
  assert.deepEqual(await loads(gateway, 3), [1023, 1023, 1023]);
  const run = await open(gateway, 64);
  assert.deepEqual((await loads(gateway, 3)).sort((a, b) => a - b), [1023, 1023, 1087]);
  const rest = await open(gateway, 300);
  const now = await loads(gateway, 3);
  assert.ok(Math.max(...now) - Math.min(...now) <= 64, String(now));
  assert.equal(now.reduce((sum, load) => sum + load), 3 * 1023 + 364);
  [...first, ...run, ...rest].forEach(socket => socket.close());
});

test('threads.reactors=0 starts as many reactors as limits.connections needs under the limit of descriptors', async t => {
  const few = await own(t, { 'threads.reactors': 0 });
  assert.equal(started(few), availableParallelism());
  if (preset === 'tsan') return; // one descriptor table for all: the limit does not count per reactor
  const many = await own(t, { 'threads.reactors': 0, 'limits.connections': 10_000 }, { wrap: ['sh', '-c', 'ulimit -n 1016; exec "$@"', 'sh'] });
  assert.equal(started(many), 10); // 1,000 connections each
  const sockets = await open(many, 100);
  assert.deepEqual(await loads(many, 10), new Array(10).fill(10));
  sockets.forEach(socket => socket.close());
});

test('a reactor without room is passed over; when none has room the answer is 503', async t => {
  if (preset === 'tsan') return;
  const gateway = await own(t, { 'threads.reactors': 2, 'threads.acceptors': 1, 'limits.publishers': 10 }, { wrap: ['sh', '-c', 'ulimit -n 116; exec "$@"', 'sh'] });
  const sockets = await open(gateway, 60);
  for (let i = 0; i < 140; i++) sockets.push(...await open(gateway, 1));
  assert.deepEqual(await loads(gateway, 2), [100, 100]);
  const refused = new WebSocket(`ws://127.0.0.1:${gateway.ws}/ws?topic=spread`);
  const status = await new Promise((resolve, reject) => refused.once('unexpected-response', (_, response) => resolve(response.statusCode)).once('open', () => reject(new Error('it opened'))));
  assert.equal(status, 503);
  sockets.pop().close();
  await gateway.connections(199);
  sockets.push(...await until('one more fits', () => open(gateway, 1)));
  sockets.forEach(socket => socket.close());
});

test('in a container that forbids unshare(2), all reactors share one table of descriptors, and the log says so', async t => {
  const gateway = await own(t, { 'threads.private_fds': 'on', 'threads.reactors': 2 }, { wrap: [noUnshare] });
  assert.match(gateway.stderr, /level=warn event=private_fds_refused /);
  const sockets = await open(gateway, 6);
  assert.deepEqual(await loads(gateway, 2), [3, 3]);
  assert.ok(await gateway.metric('process_open_fds') >= 6);
  await gateway.subscribed('spread', 6);
  const arrived = Promise.all(sockets.map(socket => new Promise(resolve => socket.once('message', data => resolve(String(data))))));
  await gateway.probe.publish('spread', 'here');
  assert.deepEqual(await arrived, Array(6).fill('here'));
  sockets.forEach(socket => socket.close());
});
