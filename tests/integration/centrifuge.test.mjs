// The published Centrifuge SDK, unmodified, against the gateway.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import WebSocket from 'ws';
import { client, now, secret, subscribe, subscriber, token } from './lib/centrifuge.mjs';
import { Gateway, own, until } from './lib/gateway.mjs';
import { relay } from './lib/relay.mjs';

const topics = {
  'chat:*': { history_size: 100, history_ttl: '5m', recover: 'on', presence: 'on', join_leave: 'on', publish: 'subscribers' },
  'short:*': { history_size: 2, recover: 'on' },
  'secret:*': { subscribe: 'token' },
  'users:*': { subscribe: 'authenticated', publish: 'authenticated', presence: 'on', join_leave: 'on' },
};
const settings = { 'auth.hmac_secret': secret, 'limits.topics_per_connection': 200 };

/** Raw messages of a `ws` client, without the SDK. */
async function raw(t, gateway, protocols = []) {
  const socket = new WebSocket(`ws://127.0.0.1:${gateway.ws}/connection/websocket`, protocols);
  const heard = [];
  socket.on('message', data => heard.push(...data.toString().split('\n').map(line => JSON.parse(line))));
  socket.on('error', () => {});
  const closed = once(socket, 'close').then(([code, reason]) => ({ code, reason: reason.toString() }));
  t.after(() => socket.terminate());
  await once(socket, 'open');
  return { socket, heard, closed, say: (...commands) => socket.send(commands.map(command => JSON.stringify(command)).join('\n')) };
}

for (const transport of ['ws', 'wss']) {
  describe(`the SDK over ${transport}`, () => {
    let gateway;
    before(async () => { gateway = await Gateway.start(settings, { topics }); });
    after(() => gateway?.stop());
    const where = () => gateway[transport];
    const secure = () => transport === 'wss' ? { pem: gateway.certificate.pem } : {};

    test('connects, subscribes, publishes, and says who did', async t => {
      const anna = await subscriber(t, where(), 'chat:a', { ...secure(), token: await token({ sub: 'anna', info: { name: 'Anna' } }) });
      const guest = await subscriber(t, where(), 'chat:a', secure());
      const { client: id, transport: over } = await anna.centrifuge.log.next('connected');
      assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
      assert.equal(over, 'websocket');
      await anna.subscription.publish({ input: 'hello', n: 1.50 });
      for (const { subscription } of [anna, guest]) {
        const publication = await subscription.log.next('publication');
        assert.deepEqual(publication.data, { input: 'hello', n: 1.5 });
        assert.deepEqual(publication.info, { client: id, user: 'anna', connInfo: { name: 'Anna' } });
      }
      await guest.subscription.publish('hi');
      const { data, info } = await anna.subscription.log.next('publication');
      assert.equal(data, 'hi');
      assert.equal(info.user, '');
    });

    test('gets what backends publish: JSON as it is, text as a string, binary as base64', async t => {
      const { subscription } = await subscriber(t, where(), 'news', secure());
      const publisher = await gateway.publisher();
      for (const payload of ['{"a": [1, 2.0, "ü"]}', 'plain "text"\n', '', '17', Buffer.from([0xff, 0x00, 0x80])])
        assert.equal(await publisher.publish('news', payload), 1);
      await until('five publications', () => subscription.data().length === 5);
      assert.deepEqual(subscription.data(), [{ a: [1, 2, 'ü'] }, 'plain "text"\n', '', 17, { b64data: '/wCA' }]);
      assert.equal(subscription.log.all('publication')[0].info, undefined);
    });

    test('sees who is there, who comes and who leaves', async t => {
      const watcher = await subscriber(t, where(), 'chat:hall', secure(), { joinLeave: true });
      const anna = await subscriber(t, where(), 'chat:hall', { ...secure(), token: await token({ sub: 'anna', info: { n: 1 } }) });
      const { client: watcherId } = await watcher.centrifuge.log.next('connected'), { client: annaId } = await anna.centrifuge.log.next('connected');
      const joins = [await watcher.subscription.log.next('join'), await watcher.subscription.log.next('join')];
      assert.deepEqual(joins.map(({ info }) => info.client), [watcherId, annaId]); // its own, too
      assert.deepEqual(joins[1].info, { client: annaId, user: 'anna', connInfo: { n: 1 } });
      const { clients } = await watcher.subscription.presence();
      assert.deepEqual(Object.keys(clients).sort(), [watcherId, annaId].sort());
      assert.deepEqual(clients[annaId].connInfo, { n: 1 });
      assert.equal(clients[annaId].user, 'anna');
      assert.deepEqual(await watcher.subscription.presenceStats(), { numClients: 2, numUsers: 2 });
      anna.subscription.unsubscribe();
      assert.equal((await watcher.subscription.log.next('leave')).info.user, 'anna');
      assert.deepEqual(await watcher.subscription.presenceStats(), { numClients: 1, numUsers: 1 });
      assert.equal(anna.subscription.log.all('join').length, 0); // it has not asked
    });

    test('whoever vanishes is not present any more', async t => {
      const watcher = await subscriber(t, where(), 'chat:gone', secure(), { joinLeave: true });
      const line = await relay(t, where());
      const bert = await subscriber(t, line.port, 'chat:gone', { ...secure(), token: await token({ sub: 'bert' }), minReconnectDelay: 60000, maxReconnectDelay: 60000 });
      assert.equal((await watcher.subscription.presenceStats()).numClients, 2);
      line.upstream().resetAndDestroy();
      await bert.centrifuge.log.next('connecting');
      assert.equal((await watcher.subscription.log.next('leave')).info.user, 'bert');
      assert.equal((await watcher.subscription.presenceStats()).numClients, 1);
    });

    test('reads history forwards and backwards', async t => {
      const { subscription } = await subscriber(t, where(), 'chat:past', secure());
      for (let n = 1; n <= 5; n++) await subscription.publish({ n });
      const top = await subscription.history();
      assert.equal(top.offset, 5);
      assert.deepEqual(top.publications, []);
      const n = result => result.publications.map(({ data }) => data.n);
      assert.deepEqual(n(await subscription.history({ limit: 100 })), [1, 2, 3, 4, 5]);
      assert.deepEqual(n(await subscription.history({ limit: -1, reverse: true })), [5, 4, 3, 2, 1]);
      const { epoch } = top;
      assert.deepEqual(n(await subscription.history({ limit: 2, since: { offset: 2, epoch } })), [3, 4]);
      assert.deepEqual(n(await subscription.history({ limit: 2, since: { offset: 3, epoch }, reverse: true })), [2, 1]);
      await assert.rejects(subscription.history({ limit: 2, since: { offset: 2, epoch: 'other' } }), { code: 112, message: 'unrecoverable position' });
      await assert.rejects(subscription._centrifuge.history('news', { limit: 1 }), { code: 108 });
    });

    test('recovers what it missed while its connection was broken: all of it, once, in order', async t => {
      const line = await relay(t, where());
      const { centrifuge, subscription } = await subscriber(t, line.port, 'chat:tunnel', secure());
      const publisher = await gateway.publisher();
      for (let n = 1; n <= 3; n++) await publisher.publish('chat:tunnel', String(n));
      await until('the first three', () => subscription.data().length === 3);
      for (let round = 0; round < 5; round++) {
        const from = subscription.data().length;
        line.upstream().resetAndDestroy(); // as kill -9 of whatever stands between
        const live = (async () => { for (let n = from + 1; n <= from + 40; n++) await publisher.publish('chat:tunnel', String(n)); })();
        await centrifuge.log.next('connecting');
        await live;
        await until('all that was missed', () => subscription.data().length >= from + 40);
      }
      await sleep(50); // for one too many
      assert.deepEqual(subscription.data(), Array.from({ length: 203 }, (_, n) => n + 1));
      const again = subscription.log.all('subscribed').slice(1);
      assert.ok(again.length >= 5);
      for (const context of again) assert.equal(context.wasRecovering && context.recovered, true);
    });

    test('is told when it has missed more than was kept', async t => {
      const line = await relay(t, where());
      const { subscription } = await subscriber(t, line.port, 'short:a', secure());
      const publisher = await gateway.publisher();
      await publisher.publish('short:a', '1');
      await subscription.log.next('publication');
      assert.equal((await subscription.log.next('subscribed')).recoverable, true);
      line.upstream().resetAndDestroy();
      for (let n = 2; n <= 6; n++) await publisher.publish('short:a', String(n));
      const context = await subscription.log.next('subscribed');
      assert.equal(context.wasRecovering, true);
      assert.equal(context.recovered, false);
      assert.equal(context.streamPosition.offset, 6);
    });

    test('sends many commands at once', async t => {
      const centrifuge = client(t, where(), secure());
      const subscriptions = Array.from({ length: 150 }, (_, n) => subscribe(centrifuge, `chat:many${n}`));
      centrifuge.connect();
      await Promise.all(subscriptions.map(subscription => subscription.ready(10000)));
      centrifuge.startBatching();
      const published = Promise.all(subscriptions.map((subscription, n) => subscription.publish({ n })));
      const stats = Promise.all(subscriptions.map(subscription => subscription.presenceStats()));
      centrifuge.stopBatching();
      await published;
      for (const { numClients } of await stats) assert.equal(numClients, 1);
      await until('every publication', () => subscriptions.every(subscription => subscription.data().length === 1));
      subscriptions.forEach((subscription, n) => assert.deepEqual(subscription.data(), [{ n }]));
    });

    test('takes up with a topic that it has just left', async t => {
      const { subscription } = await subscriber(t, where(), 'chat:again', secure());
      for (let round = 0; round < 20; round++) {
        subscription.unsubscribe();
        subscription.subscribe();
        if (round % 3 === 0) subscription.unsubscribe(), subscription.subscribe();
        await subscription.ready(5000);
        await subscription.publish({ round });
      }
      await until('the last one', () => subscription.data().length === 20);
    });

    test('is answered when it asks for what it may not have', async t => {
      const { centrifuge, subscription } = await subscriber(t, where(), 'news', secure());
      await assert.rejects(subscription.publish({}), { code: 103, message: 'permission denied' });
      await assert.rejects(subscription.presence(), { code: 108, message: 'not available' });
      await assert.rejects(centrifuge.rpc('x', {}), { code: 108 });
      const secretOne = subscribe(centrifuge, 'secret:a'), usersOnly = subscribe(centrifuge, 'users:a');
      assert.equal((await secretOne.log.next('unsubscribed')).code, 103);
      assert.equal((await usersOnly.log.next('unsubscribed')).code, 103);
      await centrifuge.send({ nobody: 'listens' });
    });
  });
}

describe('tokens', () => {
  let gateway;
  before(async () => { gateway = await Gateway.start(settings, { topics }); });
  after(() => gateway?.stop());

  test('a connection lives on with fresh tokens', async t => {
    let fetched = 0;
    const getToken = async () => { fetched++; return token({ sub: 'anna', exp: now() + 2 }); };
    const { centrifuge, subscription } = await subscriber(t, gateway.ws, 'users:a', { token: await getToken(), getToken });
    await until('three refreshes', () => fetched >= 4, 15000);
    await subscription.publish({ still: 'here' });
    assert.equal((await subscription.log.next('publication')).info.user, 'anna');
    assert.equal(centrifuge.log.all('connected').length, 1);
  });

  test('an expired token makes the SDK fetch another before it connects', async t => {
    let fetched = 0;
    const centrifuge = client(t, gateway.ws, {
      token: await token({ sub: 'anna', exp: now() - 1000 }), getToken: async () => { fetched++; return token({ sub: 'anna' }); },
    });
    centrifuge.connect();
    await centrifuge.ready(10000);
    assert.equal(fetched, 1);
    assert.equal(centrifuge.log.all('error')[0].error.code, 109);
  });

  test('an invalid token is final', async t => {
    const centrifuge = client(t, gateway.ws, { token: (await token({ sub: 'anna' })).slice(0, -3) + 'abc' });
    centrifuge.connect();
    const { code, reason } = await centrifuge.log.next('disconnected');
    assert.deepEqual({ code, reason }, { code: 3500, reason: 'invalid token' });
  });

  test('a subscription lives on with fresh tokens of its own', async t => {
    let fetched = 0;
    const getToken = async () => { fetched++; return token({ sub: 'anna', channel: 'secret:a', exp: now() + 2 }); };
    const { subscription } = await subscriber(t, gateway.ws, 'secret:a', { token: await token({ sub: 'anna' }) }, { getToken });
    await until('three refreshes', () => fetched >= 4, 15000);
    assert.equal(subscription.log.all('subscribed').length, 1);
    assert.equal(subscription.log.all('unsubscribed').length, 0);
  });

  test('a token of somebody else is none', async t => {
    const centrifuge = client(t, gateway.ws, { token: await token({ sub: 'anna' }) });
    centrifuge.connect();
    const subscription = subscribe(centrifuge, 'secret:a', { token: await token({ sub: 'bert', channel: 'secret:a' }) });
    assert.equal((await subscription.log.next('unsubscribed')).code, 103);
  });

  test('its channels are subscribed to by the server, and recovered', async t => {
    const line = await relay(t, gateway.ws);
    const centrifuge = client(t, line.port, { token: await token({ sub: 'anna', channels: ['chat:personal', 'news'] }) });
    centrifuge.connect();
    await centrifuge.ready(10000);
    await until('two subscriptions', () => centrifuge.log.all('subscribed').length === 2);
    assert.deepEqual(centrifuge.log.all('subscribed').map(({ channel }) => channel).sort(), ['chat:personal', 'news']);
    const publisher = await gateway.publisher();
    assert.equal(await publisher.publish('news', '"n"'), 1); // whoever is connected is reached
    const numbers = () => centrifuge.log.all('publication').filter(({ channel }) => channel === 'chat:personal').map(({ data }) => data);
    await publisher.publish('chat:personal', '1');
    await until('the first', () => numbers().length === 1);
    for (let round = 0; round < 5; round++) {
      const from = numbers().length;
      line.upstream().resetAndDestroy();
      const live = (async () => { for (let n = from + 1; n <= from + 20; n++) await publisher.publish('chat:personal', String(n)); })();
      await centrifuge.log.next('connecting');
      await live;
      await until('all that was missed', () => numbers().length >= from + 20);
    }
    await sleep(50);
    assert.deepEqual(numbers(), Array.from({ length: 101 }, (_, n) => n + 1));
  });
});

test('without anonymous clients a token is needed, in connect or in the URL', async t => {
  const gateway = await own(t, { ...settings, 'auth.anonymous': 'off' }, { topics });
  const nobody = client(t, gateway.ws);
  nobody.connect();
  assert.deepEqual(await nobody.log.next('disconnected'), { code: 101, reason: 'unauthorized' });
  const anna = client(t, gateway.ws, { token: await token({ sub: 'anna' }) });
  anna.connect();
  await anna.ready(5000);
  const bert = client(t, `${gateway.ws}`);
  bert._endpoint += `?token=${await token({ sub: 'bert' })}`;
  const subscription = subscribe(bert, 'users:a');
  bert.connect();
  await subscription.ready(5000);
  const { clients } = await subscription.presence();
  assert.deepEqual(Object.values(clients).map(({ user }) => user), ['bert']);
});

test('a restarted gateway is another stream, and the client is told', async t => {
  const first = await Gateway.start(settings, { topics });
  let port = first.ws, line;
  try {
    line = await relay(t, () => port);
    const { subscription } = await subscriber(t, line.port, 'chat:a');
    const publisher = await first.publisher();
    for (let n = 1; n <= 3; n++) await publisher.publish('chat:a', String(n));
    await until('three publications', () => subscription.data().length === 3);
    const second = await own(t, settings, { topics });
    const again = await second.publisher();
    for (let n = 1; n <= 5; n++) await again.publish('chat:a', String(n + 100));
    port = second.ws;
    await first.stop(); // its clients are told to come back
    const before = await subscription.log.next('subscribed'), afterwards = await subscription.log.next('subscribed');
    assert.equal(afterwards.wasRecovering, true);
    assert.equal(afterwards.recovered, false);
    assert.notEqual(afterwards.streamPosition.epoch, before.streamPosition.epoch);
    assert.deepEqual(subscription.data(), [1, 2, 3]);
  } finally {
    if (!first.exit) await first.stop();
  }
});

describe('the backend decides', () => {
  let gateway, backend;
  const asked = [];
  let answer;
  before(async () => {
    backend = createServer(async (request, response) => {
      let body = '';
      for await (const chunk of request) body += chunk;
      const question = JSON.parse(body);
      asked.push([request.url.slice(1), question, request.headers]);
      const said = await answer(request.url.slice(1), question);
      response.setHeader('Content-Type', 'application/json').end(JSON.stringify(said));
    });
    backend.listen(0, '127.0.0.1');
    await once(backend, 'listening');
    const url = `http://127.0.0.1:${backend.address().port}`;
    gateway = await Gateway.start({
      'proxy.connect': `${url}/connect`, 'proxy.refresh': `${url}/refresh`, 'proxy.subscribe': `${url}/subscribe`,
      'proxy.publish': `${url}/publish`, 'proxy.rpc': `${url}/rpc`, 'proxy.timeout': '500ms', 'proxy.headers': 'X-Who',
    }, { topics });
  });
  after(async () => {
    await gateway?.stop();
    backend?.close();
  });

  test('who connects, subscribes, publishes and calls', async t => {
    answer = (kind, { method, data, channel }) => ({ result: {
      connect: { user: 'carl', info: { c: 1 }, data: { welcome: true }, channels: ['news'] },
      subscribe: { info: { seat: 7 }, data: { topic: channel } },
      publish: { data: { ...data, checked: true } },
      rpc: { data: { method, twice: data?.n * 2 } },
    }[kind] });
    const { centrifuge, subscription } = await subscriber(t, gateway.ws, 'chat:b', { data: { hello: 1 }, name: 'test' });
    const connected = await centrifuge.log.next('connected');
    assert.deepEqual(connected.data, { welcome: true });
    assert.equal((await centrifuge.log.next('subscribed')).channel, 'news');
    assert.deepEqual((await subscription.log.next('subscribed')).data, { topic: 'chat:b' });
    const connect = asked.find(([kind]) => kind === 'connect')[1];
    assert.deepEqual({ client: connect.client, name: connect.name, data: connect.data }, { client: connected.client, name: 'test', data: { hello: 1 } });
    await subscription.publish({ text: 'x' });
    const { data, info } = await subscription.log.next('publication');
    assert.deepEqual(data, { text: 'x', checked: true });
    assert.deepEqual(info, { client: connected.client, user: 'carl', connInfo: { c: 1 }, chanInfo: { seat: 7 } });
    assert.deepEqual(await centrifuge.rpc('double', { n: 21 }), { data: { method: 'double', twice: 42 } });
  });

  test('its errors and disconnects reach the client', async t => {
    answer = kind => kind === 'rpc' ? { error: { code: 1234, message: 'no such thing' } }
      : kind === 'subscribe' ? { error: { code: 403, message: 'not you' } } : { result: { user: 'carl' } };
    const centrifuge = client(t, gateway.ws);
    centrifuge.connect();
    await centrifuge.ready(5000);
    await assert.rejects(centrifuge.rpc('x', null), { code: 1234, message: 'no such thing' });
    assert.deepEqual(await (await subscribe(centrifuge, 'chat:c')).log.next('unsubscribed'), { channel: 'chat:c', code: 403, reason: 'not you' });
    answer = () => ({ disconnect: { code: 4500, reason: 'go away' } });
    await assert.rejects(centrifuge.rpc('x', null));
    assert.deepEqual(await centrifuge.log.next('disconnected'), { code: 4500, reason: 'go away' });
  });

  test('while it is slow, clients get an internal error in time and others are served', async t => {
    answer = kind => kind === 'connect' ? { result: { user: 'carl' } } : sleep(2000, { result: {} });
    const centrifuge = client(t, gateway.ws);
    centrifuge.connect();
    await centrifuge.ready(5000);
    const started = Date.now();
    const slow = assert.rejects(centrifuge.rpc('x', null), { code: 100, message: 'internal server error' });
    await centrifuge.send({}); // the connection itself goes on
    await slow;
    assert.ok(Date.now() - started < 1900);
  });

  test('a connection that it lets in for a while is asked about again', async t => {
    let refreshes = 0;
    answer = kind => kind === 'refresh' ? { result: ++refreshes < 3 ? { expire_at: now() + 1 } : { expired: true } }
      : { result: { user: 'carl', expire_at: now() + 1 } };
    const centrifuge = client(t, gateway.ws);
    centrifuge.connect();
    await centrifuge.ready(5000);
    await centrifuge.log.next('connecting');
    const { code, reason } = await centrifuge.log.next('connecting');
    assert.deepEqual({ code, reason }, { code: 3005, reason: 'connection expired' });
    assert.equal(refreshes, 3);
  });
});

describe('without the SDK', () => {
  let gateway;
  before(async () => { gateway = await Gateway.start({ ...settings, 'idle.ping_interval': '300ms', 'idle.timeout': '5s', 'limits.handshake_timeout': '1s' }, { topics }); });
  after(() => gateway?.stop());

  test('pings come as the reply to connect promised, and whoever answers them stays', async t => {
    const { heard, say, socket } = await raw(t, gateway);
    say({ id: 1, connect: {} });
    await until('the reply', () => heard.length > 0);
    assert.equal(heard[0].connect.ping, 1);
    assert.equal(heard[0].connect.pong, true);
    const pong = setInterval(() => say({}), 100);
    t.after(() => clearInterval(pong));
    await sleep(1500);
    assert.equal(socket.readyState, WebSocket.OPEN);
    clearInterval(pong);
    await until('three pings', () => heard.filter(reply => Object.keys(reply).length === 0).length >= 3);
  });

  test('whoever answers no ping is sent away, to come back', async t => {
    const { say, closed } = await raw(t, gateway);
    say({ id: 1, connect: {} });
    assert.deepEqual(await closed, { code: 3012, reason: 'no pong' });
  });

  test('whoever does not connect is stale', async t => {
    const { closed } = await raw(t, gateway);
    assert.deepEqual(await closed, { code: 3502, reason: 'stale' });
  });

  test('nonsense is a bad request', async t => {
    const { socket, closed } = await raw(t, gateway);
    socket.send('nonsense');
    assert.deepEqual(await closed, { code: 3501, reason: 'bad request' });
  });

  test('the JSON subprotocol is answered, the Protobuf one refused', async t => {
    const { socket } = await raw(t, gateway, ['centrifuge-json']);
    assert.equal(socket.protocol, 'centrifuge-json');
    const refused = new WebSocket(`ws://127.0.0.1:${gateway.ws}/connection/websocket`, ['centrifuge-protobuf']);
    const [, response] = await once(refused, 'unexpected-response');
    assert.equal(response.statusCode, 400);
    let body = '';
    for await (const chunk of response) body += chunk;
    assert.match(body, /speaks the JSON format/);
  });
});

test('hundreds of questions at once are all answered, when there is room for the answers', async t => {
  const QUESTIONS = 60, ITEMS = 80; // 19 MB of answers, of which 8 are made before they are read
  const gateway = await own(t, { ...settings, 'auth.anonymous': 'on', 'limits.outbox_bytes': 0 }, { topics });
  const publisher = await gateway.publisher();
  await publisher.pipeline(Array.from({ length: ITEMS }, () => ['PUBLISH', 'chat:a', JSON.stringify('x'.repeat(1000))]));
  const clients = await Promise.all([0, 1, 2, 3].map(() => raw(t, gateway)));
  const answers = ({ heard }) => heard.filter(reply => reply.id > 1);
  for (const one of clients) {
    one.say({ id: 1, connect: {} });
    await until('connected', () => one.heard.length === 1);
    one.say(...Array.from({ length: QUESTIONS }, (_, i) => ({ id: i + 2, history: { channel: 'chat:a', limit: ITEMS } })));
  }
  await until('all are answered', () => clients.every(one => answers(one).length === QUESTIONS), 20000);
  for (const one of clients)
    for (const reply of answers(one)) assert.equal(reply.history?.publications.length, ITEMS, JSON.stringify(reply).slice(0, 200));
});
