// From a publisher to a subscriber on /ws, with the clients that people have: ws, redis-cli, the redis package.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { createClient } from 'redis';
import WebSocket from 'ws';
import { own, shared } from './lib/gateway.mjs';
import { BINARY, CLOSE, frame, open, TEXT } from './lib/wire.mjs';

const run = promisify(execFile);

/** A connected `ws` client that collects what arrives. */
async function client(gateway, transport, path) {
  const socket = new WebSocket(`${transport}://127.0.0.1:${gateway[transport]}${path}`, { ca: gateway.certificate.pem });
  const arrived = [];
  socket.on('message', (data, binary) => { arrived.push({ data, binary }); socket.emit('one'); });
  await once(socket, 'open');
  return { socket, arrived, count: async n => { while (arrived.length < n) await once(socket, 'one'); return arrived; } };
}

for (const transport of ['ws', 'wss']) {
  describe(`raw over ${transport}`, () => {
    const gateway = shared({ before, after }, { 'listen.origins': '*' });

    test('redis-cli publish news hello reaches one ws client and says so', async () => {
      const { socket, count } = await client(gateway(), transport, '/ws?topic=news');
      await gateway().subscribed('news');
      const { stdout } = await run('redis-cli', ['--no-raw', '-p', String(gateway().publish), 'publish', 'news', 'hello']);
      assert.equal(stdout.trim(), '(integer) 1');
      const [{ data, binary }] = await count(1);
      assert.equal(data.toString(), 'hello');
      assert.equal(binary, false);
      socket.close(1000);
      assert.equal((await once(socket, 'close'))[0], 1000);
      await gateway().connections(0);
    });

    test('whoever has seen the 101 is counted and reached by what is published from then on', async () => {
      const publisher = await gateway().publisher();
      for (let i = 0; i < 100; i++) { // nobody waits for anything but the 101
        const { socket, count } = await client(gateway(), transport, `/ws?topic=now-${i}&topic=always`);
        assert.equal(await publisher.command('PUBLISH', `now-${i}`, String(i)), 1);
        assert.equal((await count(1))[0].data.toString(), String(i));
        socket.terminate();
      }
    });

    test('the redis package publishes, over RESP2 and RESP3', async () => {
      const { socket, count } = await client(gateway(), transport, '/ws?topic=sdk');
      await gateway().subscribed('sdk');
      for (const RESP of [2, 3]) {
        const redis = createClient({ url: `redis://127.0.0.1:${gateway().publish}`, RESP, name: 'backend' });
        await redis.connect();
        assert.equal(await redis.publish('sdk', `über RESP${RESP}`), 1);
        assert.equal(await redis.publish('nobody', 'x'), 0);
        assert.deepEqual(await redis.pubSubChannels('sd*'), ['sdk']);
        assert.equal(await redis.ping(), 'PONG');
        await redis.quit();
      }
      assert.deepEqual((await count(2)).map(({ data }) => data.toString()), ['über RESP2', 'über RESP3']);
      socket.terminate();
    });

    test('a payload is exactly what arrives: text when it is UTF-8, else binary, at every length class', async () => {
      const { socket, count } = await client(gateway(), transport, '/ws?topic=sizes');
      await gateway().subscribed('sizes');
      const publisher = await gateway().publisher();
      const payloads = [0, 1, 125, 126, 127, 4096, 16383, 16384, 16385, 60000, 65535, 65536].flatMap(bytes =>
        [Buffer.alloc(bytes, 'a'), Buffer.from(Array.from({ length: bytes }, (_, i) => 128 + i % 128))]);
      const answers = await publisher.pipeline(payloads.map(payload => ['PUBLISH', 'sizes', payload]));
      assert.ok(answers.every(answer => answer === 1), String(answers));
      const arrived = await count(payloads.length);
      payloads.forEach((payload, i) => {
        assert.ok(arrived[i].data.equals(payload), `payload ${i}`);
        assert.equal(arrived[i].binary, payload.length > 0 && payload[0] >= 128, `type of payload ${i}`);
      });
      socket.terminate();
    });

    test('a message of limits.message_bytes and one byte is refused, and the publisher goes on', async () => {
      const publisher = await gateway().publisher();
      const answer = await publisher.publish('big', Buffer.alloc(65537));
      assert.ok(answer instanceof Error, `answer ${answer}`);
    });

    test('messages of one publisher arrive in order, at every subscriber of several topics', async () => {
      const all = await Promise.all(Array.from({ length: 20 }, () => client(gateway(), transport, '/ws?topic=order&topic=other')));
      await gateway().subscribed('order', 20);
      const publisher = await gateway().publisher();
      const answers = await publisher.pipeline(Array.from({ length: 500 }, (_, i) => ['PUBLISH', i % 3 ? 'order' : 'other', String(i)]));
      assert.ok(answers.every(answer => answer === 20));
      for (const { socket, arrived, count } of all) {
        await count(500);
        const numbers = arrived.map(({ data }) => Number(data));
        assert.deepEqual(numbers.filter(n => n % 3), Array.from({ length: 500 }, (_, i) => i).filter(n => n % 3));
        assert.deepEqual(numbers.filter(n => n % 3 === 0), Array.from({ length: 500 }, (_, i) => i).filter(n => n % 3 === 0));
        socket.terminate();
      }
    });

    test('a subscriber gets its own topics and nothing else', async () => {
      const one = await client(gateway(), transport, '/ws?topic=mine'), two = await client(gateway(), transport, '/ws?topic=mine%20too');
      await gateway().subscribed('mine');
      await gateway().subscribed('mine too');
      const publisher = await gateway().publisher();
      assert.deepEqual(await publisher.pipeline([['PUBLISH', 'mine', '1'], ['PUBLISH', 'mine too', '2'], ['PUBLISH', 'min', '3'], ['PUBLISH', 'mine', '4']]), [1, 1, 0, 1]);
      await one.count(2);
      await two.count(1);
      assert.deepEqual(one.arrived.map(({ data }) => data.toString()), ['1', '4']);
      assert.deepEqual(two.arrived.map(({ data }) => data.toString()), ['2']);
      one.socket.terminate();
      two.socket.terminate();
    });

    for (const opcode of [TEXT, BINARY]) {
      test(`a ${opcode === TEXT ? 'text' : 'binary'} frame from the client is refused with 1008`, async () => {
        const wire = await open(gateway(), transport, '/ws?topic=policy');
        wire.write(frame(opcode, 'hi'));
        const answer = await wire.frame();
        assert.equal(answer.opcode, CLOSE);
        assert.equal(answer.code, 1008);
        wire.destroy();
      });
    }
  });
}

test('a unix socket publishes, beside TCP, and takes inline commands', async t => {
  const gateway = await own(t, { 'listen.publish': 'unix:publish.sock' });
  const { socket, count } = await client(gateway, 'ws', '/ws?topic=u');
  const publisher = await gateway.publisher(gateway.unix);
  while ((await publisher.command('PUBSUB', 'NUMSUB', 'u'))[1] !== 1);
  assert.equal(await publisher.publish('u', 'array'), 1);
  publisher.write('PUBLISH u "in line"\r\n');
  assert.equal(await publisher.answer(), 1);
  assert.deepEqual((await count(2)).map(({ data }) => data.toString()), ['array', 'in line']);
  socket.terminate();
});

test('with publish.password nothing goes without AUTH', async t => {
  const gateway = await own(t, { 'publish.password': 'correct horse' });
  const publisher = await gateway.publisher();
  assert.match(String(await publisher.publish('a', 'x')), /NOAUTH/);
  assert.match(String(await publisher.command('AUTH', 'wrong')), /WRONGPASS/);
  assert.match(String(await publisher.publish('a', 'x')), /NOAUTH/);
  assert.equal(await publisher.command('AUTH', 'correct horse'), 'OK');
  assert.equal(await publisher.publish('a', 'x'), 0);
  assert.equal(await gateway.metric('pushgate_publisher_auth_failures_total'), 1);

  const redis = createClient({ url: `redis://127.0.0.1:${gateway.publish}`, password: 'correct horse' });
  await redis.connect();
  assert.equal(await redis.publish('a', 'x'), 0);
  await redis.disconnect();
  const wrong = createClient({ url: `redis://127.0.0.1:${gateway.publish}`, password: 'no', socket: { reconnectStrategy: false } });
  wrong.on('error', () => {});
  await assert.rejects(wrong.connect(), /WRONGPASS/);
  assert.doesNotMatch(gateway.stderr, /correct horse/);
});

test('commands that client libraries and people try are answered as Redis words it', async t => {
  const gateway = await own(t);
  const publisher = await gateway.publisher();
  assert.equal(await publisher.command('PING'), 'PONG');
  assert.equal(await publisher.command('PING', 'x'), 'x');
  assert.equal(await publisher.command('ECHO', 'x'), 'x');
  assert.equal(await publisher.command('SELECT', '0'), 'OK');
  assert.equal(await publisher.command('CLIENT', 'SETNAME', 'me'), 'OK');
  assert.equal(await publisher.command('CLIENT', 'GETNAME'), 'me');
  assert.equal(typeof await publisher.command('CLIENT', 'ID'), 'number');
  assert.match(await publisher.command('INFO'), /redis_version|pushgate/);
  assert.deepEqual(await publisher.command('PUBSUB', 'CHANNELS'), []);
  assert.match(String(await publisher.command('GET', 'x')), /ERR unknown command/);
  assert.match(String(await publisher.command('PUBLISH', 'x')), /ERR wrong number of arguments/);
  const hello = await publisher.command('HELLO', '3');
  assert.equal(hello[hello.indexOf('proto') + 1], 3);
  assert.equal(await publisher.command('QUIT'), 'OK');
  await publisher.closed;
});
