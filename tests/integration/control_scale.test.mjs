// Operators' commands while tens of thousands of connections come, go and are closed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import WebSocket from 'ws';
import { list } from './lib/control.mjs';
import { measurable, own, until } from './lib/gateway.mjs';
import { run } from './lib/load.mjs';

const many = measurable ? 20_000 : 600;

test(`of ${many} connections that come and go, each that stays is listed exactly once`, async t => {
  const gateway = await own(t, { 'log.level': 'debug' }); // the log tells what is true: conn=… of each open and close
  const publisher = await gateway.publisher();
  const lines = event => [...gateway.stderr.matchAll(new RegExp(`event=${event} .*?conn=(\\S+)`, 'g'))].map(([, id]) => id);
  let marks = 0;
  /** Everything that was logged up to now has been read. */
  const mark = async () => {
    assert.equal(await publisher.command('CONFIG', 'SET', 'log.level', 'debug'), 'OK');
    marks++;
    await until('the log has come so far', () => gateway.stderr.split('event=log_level').length > marks);
  };
  let rounds = 0, latency = 0;
  await run('churn', {
    target: `ws://127.0.0.1:${gateway.ws}/ws?topic=load`, connections: many, churn: '5%', publish: `127.0.0.1:${gateway.publish}`,
    'publish-rate': 1, hold: '60s',
  }, {
    onReady: async child => {
      const other = await gateway.publisher();
      for (const filter of [['TOPIC', 'load'], []]) {
        await mark();
        const opened = new Set(lines('open')), closedBefore = new Set(lines('close'));
        assert.ok(opened.size >= many);
        const { found, pages } = await list(publisher, filter, {
          count: 500,
          between: async () => { // nobody else waits for a listing
            const began = performance.now();
            assert.equal(await other.command('PING'), 'PONG');
            latency = Math.max(latency, performance.now() - began);
          },
        });
        await mark();
        const closed = new Set(lines('close')), ids = found.map(({ id }) => id), listed = new Set(ids);
        assert.equal(listed.size, ids.length, 'nobody twice');
        const stayed = [...opened].filter(id => !closed.has(id));
        assert.ok(stayed.length > many / 20, `${stayed.length} stayed`);
        assert.ok(closed.size > closedBefore.size, 'others went meanwhile');
        for (const id of stayed) assert.ok(listed.has(id), `${id} was there all the time`);
        for (const id of ids) assert.ok(!closedBefore.has(id), `${id} had gone before`);
        assert.ok(pages >= Math.floor(stayed.length / 500));
        rounds++;
      }
      child.kill();
    },
  });
  assert.equal(rounds, 2);
  t.diagnostic(`slowest PING between pages: ${latency.toFixed(1)} ms`);
  if (measurable) assert.ok(latency < 1000, `${latency} ms`);
});

test(`closing a topic of ${many} while it is listed; the others stay`, async t => {
  const gateway = await own(t, { 'limits.close_timeout': '5s' });
  const other = new WebSocket(`ws://127.0.0.1:${gateway.ws}/ws?topic=other`);
  t.after(() => other.terminate());
  await gateway.subscribed('other');
  const publisher = await gateway.publisher(), lister = await gateway.publisher();
  let closed, listed;
  await run('idle', { target: `ws://127.0.0.1:${gateway.ws}/ws?topic=load`, connections: many, hold: '60s' }, {
    onReady: async child => {
      const began = performance.now();
      [closed, listed] = await Promise.all([
        publisher.command('CONNECTION', 'CLOSE', 'TOPIC', 'load', 'CODE', 4000, 'REASON', 'moved'),
        list(lister, ['TOPIC', 'load'], { count: 100 }),
      ]);
      child.kill();
      t.diagnostic(`${many} closed in ${(performance.now() - began).toFixed(0)} ms`);
    },
  });
  assert.equal(closed, many);
  assert.ok(new Set(listed.found.map(({ id }) => id)).size === listed.found.length);
  assert.equal(await gateway.metric('pushgate_closes_total', 'reason="operator"'), many);
  assert.equal(other.readyState, WebSocket.OPEN);
  assert.equal(await publisher.command('CONNECTION', 'CLOSE', 'TOPIC', 'load'), 0);
});
