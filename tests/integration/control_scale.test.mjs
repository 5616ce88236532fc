// Operators' commands while tens of thousands of connections come, go and are closed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import WebSocket from 'ws';
import { list } from './lib/control.mjs';
import { measurable, own, until } from './lib/gateway.mjs';
import { run } from './lib/load.mjs';

const many = measurable ? 20_000 : 600;

/** Which of these connections there are, asked for one by one. */
async function alive(publisher, ids) {
  const answers = await publisher.pipeline(ids.map(id => ['CONNECTION', 'INFO', id]));
  return new Set(ids.filter((_, i) => !(answers[i] instanceof Error)));
}

test(`of ${many} connections that come and go, each that stays is listed exactly once`, async t => {
  const gateway = await own(t);
  const publisher = await gateway.publisher(), other = await gateway.publisher();
  let rounds = 0, latency = 0;
  await run('churn', {
    target: `ws://127.0.0.1:${gateway.ws}/ws?topic=load`, connections: many, churn: '5%', publish: `127.0.0.1:${gateway.publish}`,
    'publish-rate': 1, hold: '60s',
  }, {
    onReady: async child => {
      const before = (await list(publisher, [], { count: 1000 })).found.map(({ id }) => id);
      assert.ok(before.length > many / 10, `${before.length} of ${many}`); // on a slow machine they go faster than they come
      const some = before.filter((_, i) => i % 10 === 0); // the model: they were there before, and are asked for again behind
      for (const filter of [['TOPIC', 'load'], []]) {
        let there = await alive(publisher, some);
        const gone = some.filter(id => !there.has(id));
        const { found, pages } = await list(publisher, filter, {
          count: 500,
          between: async () => { // nobody else waits for a listing
            const began = performance.now();
            assert.equal(await other.command('PING'), 'PONG');
            latency = Math.max(latency, performance.now() - began);
          },
        });
        there = await alive(publisher, some);
        const ids = found.map(({ id }) => id), listed = new Set(ids);
        assert.equal(listed.size, ids.length, 'nobody twice');
        assert.ok(there.size > 0, 'some have stayed');
        for (const id of there) assert.ok(listed.has(id), `${id} was there all the time`);
        for (const id of gone) assert.ok(!listed.has(id), `${id} had gone before`);
        assert.ok(pages >= Math.floor(ids.length / 500));
        if (rounds === 1) await until('others go', async () => (await alive(publisher, some)).size < some.length, 10000);
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
      for (const filter of [['TOPIC', 'load'], []]) { // while nobody comes or goes
        const ids = (await list(lister, filter, { count: 1000 })).found.map(({ id }) => id);
        assert.equal(new Set(ids).size, many + (filter.length === 0));
        assert.equal(ids.length, many + (filter.length === 0));
      }
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
