// What the sections [topic PATTERN] mean for /ws: history behind an offset, rights, limits, policies for slow consumers.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { secret, token } from './lib/centrifuge.mjs';
import { shared, until } from './lib/gateway.mjs';
import { attempt, CLOSE, open, TEXT } from './lib/wire.mjs';

const topics = {
  'log:short*': { history_size: 3, recover: 'on' },
  'log:*': { history_size: 1000, recover: 'on' },
  'kept:*': { history_size: 10 },
  'staff:*': { subscribe: 'authenticated' },
  'key:*': { subscribe: 'token' },
  'few:*': { max_subscribers: 2 },
};
const texts = async (wire, count) => {
  const got = [];
  while (got.length < count) got.push((await wire.frame()).text);
  return got;
};
const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => String(from + i));

for (const transport of ['ws', 'wss']) {
  describe(`topics over ${transport}`, () => {
    const gateway = shared({ before, after }, { 'auth.hmac_secret': secret, 'log.level': 'warn' }, { topics });

    const publish = async (topic, from, to) => {
      const publisher = await gateway().publisher();
      await publisher.pipeline(numbers(from, to).map(text => ['PUBLISH', topic, text]));
      publisher.end();
    };

    test('since=N brings what came behind N, in order, then what comes now', async () => {
      const topic = `log:a-${transport}`;
      await publish(topic, 1, 50);
      const wire = await open(gateway(), transport, `/ws?topic=${topic}&since=17`);
      assert.deepEqual(await texts(wire, 33), numbers(18, 50));
      await publish(topic, 51, 53);
      assert.deepEqual(await texts(wire, 3), numbers(51, 53));
      wire.destroy();
    });

    test('since the newest brings nothing old; since=0 everything that is kept', async () => {
      const topic = `log:b-${transport}`;
      await publish(topic, 1, 5);
      const newest = await open(gateway(), transport, `/ws?topic=${topic}&since=5`);
      const all = await open(gateway(), transport, `/ws?topic=${topic}&since=0`);
      assert.deepEqual(await texts(all, 5), numbers(1, 5));
      await gateway().subscribed(topic, 2);
      await publish(topic, 6, 6);
      assert.deepEqual(await texts(newest, 1), ['6']);
      assert.deepEqual(await texts(all, 1), ['6']);
      newest.destroy();
      all.destroy();
    });

    test('a gap is told by close code 4410, before any message', async () => {
      const topic = `log:short-${transport}`;
      await publish(topic, 1, 10);
      for (const since of [0, 6, 11]) { // too old, too old by one, and from another numbering
        const wire = await open(gateway(), transport, `/ws?topic=${topic}&since=${since}`);
        const frame = await wire.frame();
        assert.equal(frame.opcode, CLOSE, `since=${since}: ${frame.text}`);
        assert.equal(frame.code, 4410);
        wire.destroy();
      }
      const wire = await open(gateway(), transport, `/ws?topic=${topic}&since=7`);
      assert.deepEqual(await texts(wire, 3), ['8', '9', '10']);
      wire.destroy();
    });

    test('an epoch of another life is a gap, too', async () => {
      const topic = `log:c-${transport}`;
      await publish(topic, 1, 3);
      const wire = await open(gateway(), transport, `/ws?topic=${topic}&since=2&epoch=00000000000000ab`);
      assert.equal((await wire.frame()).code, 4410);
      wire.destroy();
    });

    test('since is refused where it means nothing', async () => {
      for (const query of ['topic=log:x&since=', 'topic=log:x&since=-1', 'topic=log:x&since=1e3', 'topic=log:x&since=99999999999999999999',
        'topic=log:x&topic=log:y&since=1', 'topic=kept:x&since=1', 'topic=news&since=1', 'topic=log:x&since=1&epoch=z', 'topic=log:x&since=%zz'])
        assert.equal((await attempt(gateway(), transport, `/ws?${query}`)).status, 400, query);
    });

    test('nobody misses or repeats a message that is published while they come', async () => {
      const topic = `log:race-${transport}`;
      const publisher = await gateway().publisher();
      const total = 400;
      const sending = (async () => { for (let i = 1; i <= total; i++) await publisher.command('PUBLISH', topic, String(i)); })();
      const wires = [];
      for (let i = 0; i < 20; i++) wires.push(await open(gateway(), transport, `/ws?topic=${topic}&since=0`));
      await sending;
      for (const wire of wires) {
        assert.deepEqual(await texts(wire, total), numbers(1, total));
        wire.destroy();
      }
    });

    test('subscribe=authenticated wants a token with a user; subscribe=token has no place in a URL', async () => {
      const ann = await token({ sub: 'ann' }), nobody = await token({});
      assert.equal((await attempt(gateway(), transport, '/ws?topic=staff:x')).status, 403);
      assert.equal((await attempt(gateway(), transport, `/ws?topic=staff:x&token=${nobody}`)).status, 403);
      assert.equal((await attempt(gateway(), transport, `/ws?topic=news&topic=staff:x`)).status, 403);
      (await open(gateway(), transport, `/ws?topic=staff:x&token=${ann}`)).destroy();
      assert.equal((await attempt(gateway(), transport, `/ws?topic=key:x&token=${ann}`)).status, 403);
    });

    test('max_subscribers holds, and a place becomes free again', async () => {
      const topic = `few:${transport}`;
      const path = `/ws?topic=${topic}`;
      const two = [await open(gateway(), transport, path), await open(gateway(), transport, path)];
      await gateway().subscribed(topic, 2);
      const third = await open(gateway(), transport, path);
      assert.equal((await third.frame()).code, 1013);
      third.destroy();
      two[0].destroy();
      await gateway().subscribed(topic, 1);
      const fourth = await open(gateway(), transport, path);
      await gateway().subscribed(topic, 2);
      await publish(topic, 1, 1);
      const frame = await fourth.frame();
      assert.equal(frame.opcode, TEXT);
      assert.equal(frame.text, '1');
      fourth.destroy();
      two[1].destroy();
    });

    test('a stranger that comes and goes to topics with history leaves nothing behind', async () => {
      for (let i = 0; i < 200; i++) (await open(gateway(), transport, `/ws?topic=log:gone-${i}&since=0`)).destroy();
      await gateway().connections(0);
      await until('no topic is left', async () => (await gateway().metric('pushgate_topics')) === 0);
    });
  });
}
