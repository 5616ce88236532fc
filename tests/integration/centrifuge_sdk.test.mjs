// What the published Centrifuge SDK's users live through: many tabs, cut connections, restarts, slow networks. Everything is
// checked against the list of what was published: whoever does not hear of a gap has none.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { UnauthorizedError } from 'centrifuge';
import { client, now, secret, subscribe, subscriber } from './lib/centrifuge.mjs';
import { measurable, own, until } from './lib/gateway.mjs';
import { relay } from './lib/relay.mjs';

const kept = { history_size: 1000, history_ttl: '1h', recover: 'on', presence: 'on', join_leave: 'on', publish: 'subscribers' };
const count = (length, from = 1) => Array.from({ length }, (_, n) => n + from);

/** A token made by hand, after RFC 7515 and nothing else. */
function signed(claims) {
  const text = [{ alg: 'HS256', typ: 'JWT' }, claims].map(part => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

/** Ends all connections of this port of the gateway as `kill -9` of them would: without a word, from outside. */
function killSockets(port) { execFileSync('ss', ['-K', '-tn', 'state', 'connected', 'sport', '=', `:${port}`], { stdio: 'ignore' }); }
const mayKillSockets = process.getuid() === 0 && spawnSync('ss', ['-V']).status === 0;

describe('100 tabs of one topic', () => {
  const topic = 'chat:tabs';

  /** They are there, and each has heard what every other has said. */
  async function crowd(t, port, length = 100) {
    const tabs = await Promise.all(count(length).map(n => subscriber(t, port, topic, { token: signed({ sub: `user${n % 10}`, info: { n } }) }, { joinLeave: true })));
    await Promise.all(tabs.map(({ subscription }, n) => subscription.publish({ n })));
    await until('everybody has heard everybody', () => tabs.every(({ subscription }) => subscription.data().length === length));
    return tabs;
  }

  const heardAlike = tabs => {
    const first = tabs[0].subscription.log.all('publication').map(({ offset }) => offset);
    assert.deepEqual(first, count(first.length));
    for (const { subscription } of tabs) assert.deepEqual(subscription.data(), tabs[0].subscription.data());
  };

  test('hear the same in the same order, and all are present', async t => {
    const gateway = await own(t, { 'auth.hmac_secret': secret }, { topics: { 'chat:*': kept } });
    const { subscription: watcher } = await subscriber(t, gateway.ws, topic, {}, { joinLeave: true });
    const tabs = await crowd(t, gateway.ws);
    heardAlike(tabs);
    assert.deepEqual(await tabs[7].subscription.presenceStats(), { numClients: 101, numUsers: 11 });
    const { clients } = await tabs[0].subscription.presence();
    const numbers = infos => infos.map(({ connInfo }) => connInfo?.n ?? 0).sort((a, b) => a - b);
    assert.deepEqual(numbers(Object.values(clients)), count(101, 0));
    await until('whoever was there first has seen everybody come', () => watcher.log.all('join').length === 101);
    assert.deepEqual(numbers(watcher.log.all('join').map(({ info }) => info)), count(101, 0));
    for (const { centrifuge } of tabs) centrifuge.disconnect();
    await until('and everybody leave', () => watcher.log.all('leave').length === 100);
    assert.deepEqual(await watcher.presenceStats(), { numClients: 1, numUsers: 1 });
  });

  test('lose their connections at once, and recover what was said meanwhile', { skip: !mayKillSockets && 'needs root and ss -K' }, async t => {
    const gateway = await own(t, { 'auth.hmac_secret': secret }, { topics: { 'chat:*': kept } });
    const tabs = await crowd(t, gateway.ws), publisher = await gateway.publisher();
    for (let round = 0; round < 3; round++) {
      const published = (async () => { for (let n = 0; n < 50; n++) await publisher.publish(topic, `${round}:${n}`); })();
      killSockets(gateway.ws);
      await published;
      await until('everybody has all of it', () => tabs.every(({ subscription }) => subscription.data().length === 150 + round * 50));
    }
    heardAlike(tabs);
    for (const { subscription } of tabs) {
      assert.equal(subscription.log.all('subscribed').length, 4, 'every connection was ended, three times');
      for (const { wasRecovering, recovered } of subscription.log.all('subscribed').slice(1)) assert.deepEqual([wasRecovering, recovered], [true, true]);
    }
    await until('everybody is present, once', async () => (await tabs[0].subscription.presenceStats()).numClients === 100);
  });

  for (const signal of ['SIGTERM', 'SIGKILL']) {
    test(`come back by themselves after ${signal} and a new start, are told that they may miss something, and see no error`, async t => {
      const gateway = await own(t, { 'auth.hmac_secret': secret, 'drain.timeout': '500ms' }, { topics: { 'chat:*': kept } });
      const tabs = await crowd(t, gateway.ws);
      await gateway.restart(signal);
      await until('everybody is back', () => tabs.every(({ subscription }) => subscription.log.all('subscribed').length >= 2 && subscription.state === 'subscribed'), 20000);
      const epochs = new Set();
      for (const { centrifuge, subscription } of tabs) {
        const again = subscription.log.all('subscribed').slice(1);
        assert.deepEqual([again[0].wasRecovering, again[0].recovered], [true, false]);
        epochs.add(again.at(-1).streamPosition.epoch);
        assert.notEqual(again[0].streamPosition.epoch, subscription.log.all('subscribed')[0].streamPosition.epoch);
        assert.deepEqual(centrifuge.log.all('disconnected'), []);
        assert.deepEqual(subscription.log.all('unsubscribed'), []);
        if (signal === 'SIGTERM') // codes of the protocol that ask the SDK to come back
          assert.ok(centrifuge.log.all('connecting').slice(1).every(({ code }) => code < 3500), JSON.stringify(centrifuge.log.all('connecting')));
      }
      assert.equal(epochs.size, 1);
      await Promise.all(tabs.map(({ subscription }) => subscription.publish('back')));
      await until('everybody hears everybody again', () => tabs.every(({ subscription }) => subscription.data().filter(data => data === 'back').length === 100));
    });
  }
});

describe('tokens made by hand', () => {
  test('a connection that was cut comes back with a fresh token when its own has expired', async t => {
    const gateway = await own(t, { 'auth.hmac_secret': secret, 'auth.anonymous': 'off' }, { topics: { 'chat:*': kept } });
    const line = await relay(t, gateway.ws);
    let fetched = 0;
    const { centrifuge, subscription } = await subscriber(t, line.port, 'chat:a',
      { token: signed({ sub: 'ann', exp: now() + 3600 }), getToken: async () => { fetched++; return signed({ sub: 'ann', exp: now() + 3600 }); } });
    line.down();
    await centrifuge.log.next('connecting'); // its first
    await centrifuge.log.next('connecting');
    centrifuge.setToken(signed({ sub: 'ann', exp: now() - 1 })); // as if it had been away for long
    await (await gateway.publisher()).publish('chat:a', '1');
    line.up();
    await until('the one that it missed', () => subscription.data().length === 1);
    assert.equal(fetched, 1);
    assert.deepEqual(centrifuge.log.all('disconnected'), []);
  });

  test('why one was refused is in the log, with the command and the connection, and never the token', async t => {
    const gateway = await own(t, { 'auth.hmac_secret': secret, 'auth.anonymous': 'off', 'log.level': 'debug' }, { topics: { 'mine:*': { subscribe: 'token' } } });
    const sent = [];
    const give = (claims, end = '') => { sent.push(`${signed(claims).slice(0, end ? -4 : undefined)}${end}`); return sent.at(-1); };
    const disconnected = async sdk => { sdk.connect(); return (await sdk.log.next('disconnected')).code; };
    assert.equal(await disconnected(client(t, gateway.ws, { token: give({ sub: 'eve' }, 'AAAA') })), 3500);
    const ann = client(t, gateway.ws, { token: give({ sub: 'ann', exp: now() - 5 }), getToken: async () => give({ sub: ann.log.all('connected').length ? 'bob' : 'ann', exp: now() + 2 }) });
    assert.equal(await disconnected(ann), 3500);
    const bob = client(t, gateway.ws, { token: give({ sub: 'bob' }) });
    bob.connect();
    const other = subscribe(bob, 'mine:a', { token: give({ sub: 'bob', channel: 'mine:z' }) });
    assert.equal((await other.log.next('unsubscribed')).code, 103);
    const mine = subscribe(bob, 'mine:b', { token: give({ sub: 'bob', channel: 'mine:b', exp: now() + 2 }), getToken: async () => give({ sub: 'ann', channel: 'mine:b' }) });
    assert.equal((await mine.log.next('unsubscribed')).code, 103);
    const said = () => [...gateway.stderr.matchAll(/level=debug event=token_refused conn=(\d+-\d+-\d+) command=(\w+) reason=("[^"]*"|\S+)\n/g)].map(([, ...parts]) => parts);
    await until('the log has all five', () => said().length >= 5);
    assert.deepEqual(said().map(([, ...rest]) => rest.join(' ')), ['connect "signature does not match"', 'connect expired', 'refresh "for another user (sub)"',
      'subscribe "for another channel"', 'sub_refresh "for another user (sub)"']);
    const opened = id => gateway.stderr.includes(`event=open adapter=centrifuge transport=ws conn=${id} client=127.0.0.1:`);
    assert.deepEqual(said().map(([id]) => opened(id)), Array(5).fill(true));
    assert.equal(new Set(said().map(([id]) => id)).size, 4, 'eve, ann, ann again, bob');
    for (const part of sent.flatMap(token => token.split('.')).filter(text => text.length > 20)) assert.ok(!gateway.stderr.includes(part), 'a part of a token is in the log');
  });

  test('a subscription that was cut comes back with a fresh token of its own', async t => {
    const gateway = await own(t, { 'auth.hmac_secret': secret, 'auth.anonymous': 'off' }, { topics: { 'mine:*': { ...kept, subscribe: 'token' } } });
    const line = await relay(t, gateway.ws);
    let fetched = 0, expires;
    const getToken = async ({ channel }) => {
      fetched++;
      expires = now() + (fetched === 1 ? 2 : 3600);
      return signed({ sub: 'ann', channel, exp: expires, info: { fetched } });
    };
    const { centrifuge, subscription } = await subscriber(t, line.port, 'mine:1', { token: signed({ sub: 'ann' }) }, { getToken });
    line.down();
    await centrifuge.log.next('connecting');
    await centrifuge.log.next('connecting');
    await until('its token has expired', () => Date.now() / 1000 > expires);
    const publisher = await gateway.publisher();
    for (const n of count(3)) await publisher.publish('mine:1', String(n));
    line.up();
    await until('what it missed', () => subscription.data().length === 3);
    assert.deepEqual(subscription.data(), [1, 2, 3]);
    assert.equal(fetched, 2);
    const { clients } = await subscription.presence();
    assert.deepEqual(Object.values(clients).map(({ user, chanInfo }) => [user, chanInfo]), [['ann', { fetched: 2 }]]);
  });

  test('no fresh token is the end of the connection, and the application hears why', async t => {
    const gateway = await own(t, { 'auth.hmac_secret': secret, 'auth.anonymous': 'off' });
    const centrifuge = client(t, gateway.ws, { token: signed({ sub: 'ann', exp: now() - 10 }), getToken: async () => { throw new UnauthorizedError('logged out'); } });
    centrifuge.connect();
    const { code } = await centrifuge.log.next('disconnected');
    assert.equal(code, 1); // the SDK's own code for it
  });
});

describe('slow consumers', () => {
  const big = n => JSON.stringify({ n, filler: 'x'.repeat(60000) });
  const numbers = subscription => subscription.data().map(({ n }) => n);

  for (const policy of ['disconnect', 'drop_oldest', 'latest']) {
    test(`a reader that stalls hears of its gap and recovers all of it (${policy})`, async t => {
      const gateway = await own(t, { 'limits.outbox_bytes': '8MiB' }, { topics: { 'wide:*': { ...kept, slow_consumer: policy } } });
      const line = await relay(t, gateway.ws), publisher = await gateway.publisher();
      const slow = await subscriber(t, line.port, 'wide:a', { timeout: 30000 }), quick = await subscriber(t, gateway.ws, 'wide:a');
      const last = 400; // 24 MB: past whatever the kernel takes, and the outbox
      let next = 1;
      line.upstream().pause();
      for (; next <= last; next++) await publisher.publish('wide:a', big(next));
      await until('the gateway has dropped something', async () => await gateway.metric('pushgate_drops_total') > 0, 10000);
      line.upstream().resume();
      await until('the slow one has what the quick one has', async () => {
        // A gap is told with the next message that passes it.
        if (numbers(slow.subscription).at(-1) === next - 1 && numbers(quick.subscription).at(-1) === next - 1) return true;
        await sleep(100);
        await publisher.publish('wide:a', big(next++));
        return false;
      }, 30000);
      assert.deepEqual(numbers(quick.subscription), count(next - 1));
      const subscribed = slow.subscription.log.all('subscribed');
      assert.ok(subscribed.length >= 2, 'it has subscribed again');
      // Half an outbox is what a reply may bring: the rest is told to be missing, not passed over.
      checkStory(slow.subscription, ({ n }) => n);
      if (policy === 'disconnect') assert.ok(slow.centrifuge.log.all('connecting').some(({ code }) => code === 3008), JSON.stringify(slow.centrifuge.log.all('connecting')));
      else assert.ok(slow.subscription.log.all('subscribing').some(({ code }) => code === 2500), JSON.stringify(slow.subscription.log.all('subscribing')));
    });
  }
});

/**
 * Goes through what a subscription heard, in order: numbers go up by one, and only a subscribed event that says
 * wasRecovering and not recovered may stand where some are missing. Returns how many such there were, and the last number.
 */
function checkStory(subscription, number = data => data) {
  let last = null, gaps = 0, mayMiss = true;
  for (const [name, context] of subscription.log.events) {
    if (name === 'subscribed') {
      const first = last === null && !context.wasRecovering;
      if (!context.recovered && !first) gaps++;
      if (!context.recovered) mayMiss = true;
    } else if (name === 'publication') {
      const n = number(context.data);
      if (last !== null && (mayMiss ? n <= last : n !== last + 1))
        assert.fail(`${n} after ${last} ${mayMiss ? 'came twice, or backwards' : 'without a word about what is between'}`);
      last = n;
      mayMiss = false;
    }
  }
  return { gaps, last };
}

/** Numbers below `n`, the same for the same seed (mulberry32). */
function dice(seed) {
  let state = seed >>> 0;
  return n => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) % n;
  };
}

describe('whatever happens, a gap is told', () => {
  const seed = Number(process.env.PUSHGATE_SEED ?? Math.floor(Math.random() * 2 ** 32));
  const topicNames = ['long:a', 'short:a', 'drop:a', 'latest:a', 'brief:a'];
  const topics = {
    'long:*': { ...kept, history_size: 100000 }, // all of it: whoever says not recovered here has no reason
    'short:*': { ...kept, history_size: 10 },
    'drop:*': { ...kept, history_size: 200, slow_consumer: 'drop_oldest' },
    'latest:*': { ...kept, history_size: 200, slow_consumer: 'latest' },
    'brief:*': { ...kept, history_ttl: '1s' },
  };

  /**
   * Ten tabs with all topics, cut and stalled at random while all is published to. `restarts`: of the gateway, by SIGKILL.
   * `filler`: messages of 20 kB to other topics in each burst. Returns how often each topic was not recovered.
   */
  async function storm(t, { restarts = 0, floods = 0, filler = 0, settings = {}, rounds = measurable ? 40 : 20 }) {
    const roll = dice(seed + restarts + floods + filler);
    const gateway = await own(t, { 'limits.outbox_bytes': '2MiB', ...settings }, { topics });
    const tabs = [];
    for (const _ of count(10)) {
      const line = await relay(t, gateway.ws);
      const centrifuge = client(t, line.port, { timeout: 20000, minReconnectDelay: 10, maxReconnectDelay: 60 });
      const subscriptions = topicNames.map(name => subscribe(centrifuge, name));
      centrifuge.connect();
      await Promise.all(subscriptions.map(subscription => subscription.ready(20000)));
      tabs.push({ line, centrifuge, subscriptions });
    }
    const counters = new Map(topicNames.map(name => [name, 0]));
    let publisher = await gateway.publisher();
    const message = (name, bytes) => {
      counters.set(name, counters.get(name) + 1);
      return ['PUBLISH', name, JSON.stringify({ n: counters.get(name), ...(bytes > 0 ? { filler: 'x'.repeat(bytes) } : {}) })];
    };
    const publish = async commands => { for (const answer of await publisher.pipeline(commands)) assert.equal(typeof answer, 'number', String(answer)); };
    const filling = 'y'.repeat(20000);
    const burst = length => publish([
      ...count(length).map(() => message(topicNames[roll(topicNames.length)], roll(3) === 0 ? roll(2000) : 0)),
      ...count(filler).map(() => ['PUBLISH', `long:filler${roll(20)}`, filling]),
    ]);
    const every = (times, round) => times > 0 && round % Math.ceil(rounds / (times + 1)) === Math.ceil(rounds / (times + 1)) - 1;
    for (let round = 0; round < rounds; round++) {
      const victims = tabs.filter(() => roll(4) === 0), during = burst(1 + roll(60));
      for (const { line, centrifuge } of victims) {
        switch (roll(5)) {
        case 0: line.cut(); break;
        case 1: line.upstream().end(); break; // a FIN instead
        case 2: centrifuge._transport?._transport?.terminate?.(); break;
        case 3: line.upstream().pause(); break;
        default: line.down();
        }
      }
      await during;
      if (roll(2) === 0) await burst(roll(40));
      if (roll(12) === 0) await sleep(1100); // what is kept for a second only is gone
      if (every(floods, round)) { // past what the kernel takes for those who read nothing, and past their outbox
        const stalled = tabs.filter(({ centrifuge }) => centrifuge.state === 'connected').slice(0, 3);
        const dropped = await gateway.metric('pushgate_drops_total');
        for (const { line } of stalled) line.upstream().pause();
        victims.push(...stalled);
        for (let i = 0; i < 400 && await gateway.metric('pushgate_drops_total') === dropped; i++)
          await publish(['drop:a', 'latest:a'].map(name => message(name, 50000)));
      }
      for (const { line } of victims) {
        line.up();
        line.upstream().resume();
      }
      if (roll(3) === 0) await until('everybody is back', () => tabs.every(({ subscriptions }) => subscriptions.every(({ state }) => state === 'subscribed')), 20000);
      if (every(restarts, round)) {
        await gateway.restart('SIGKILL');
        publisher = await gateway.publisher();
      }
    }
    for (const { line } of tabs) {
      line.up();
      line.upstream().resume();
    }
    // Everybody comes to the end of every topic: what is published now reaches all, whatever they have missed.
    await until('everybody has everything', async () => {
      const there = tabs.every(({ subscriptions }) => subscriptions.every((subscription, i) => subscription.data().at(-1)?.n === counters.get(topicNames[i])));
      if (there) return true;
      await sleep(200);
      if (tabs.every(({ subscriptions }) => subscriptions.every(({ state }) => state === 'subscribed')))
        await publish(topicNames.map(name => message(name, 0)));
      return false;
    }, 30000);
    const gaps = new Map(topicNames.map(name => [name, 0]));
    let again = 0;
    for (const { centrifuge, subscriptions } of tabs) {
      assert.deepEqual(centrifuge.log.all('disconnected'), []);
      subscriptions.forEach((subscription, i) => {
        const name = topicNames[i];
        try {
          const story = checkStory(subscription, ({ n }) => n);
          gaps.set(name, gaps.get(name) + story.gaps);
          again += subscription.log.all('subscribed').length - 1;
        } catch (error) {
          error.message = `${name}: ${error.message}, PUSHGATE_SEED=${seed}`;
          throw error;
        }
      });
    }
    t.diagnostic(`PUSHGATE_SEED=${seed}: ${[...counters.values()].reduce((a, b) => a + b)} published, ${again} subscriptions again, not recovered: ${JSON.stringify(Object.fromEntries(gaps))}`);
    assert.ok(again > 0);
    return gaps;
  }

  test('connections are cut and stall at random', async t => {
    const gaps = await storm(t, { floods: measurable ? 2 : 1 });
    assert.equal(gaps.get('long:a'), 0, `everything was kept, and yet somebody was told of a gap, PUSHGATE_SEED=${seed}`);
    assert.ok(gaps.get('short:a') > 0);
  });

  test('and the gateway is killed and started again', async t => {
    const gaps = await storm(t, { restarts: 2 });
    assert.ok(gaps.get('long:a') >= 10, 'everybody was told of the new stream');
  });

  test('and histories are evicted for want of memory', async t => {
    const gaps = await storm(t, { settings: { 'history.memory': '1MiB' }, filler: 60 });
    assert.ok(gaps.get('long:a') > 0, 'each burst evicts them');
  });
});
