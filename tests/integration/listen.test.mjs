// Backends that listen on the publish socket, with the clients that people have: redis-cli, the redis package, and Redis itself beside us.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { Centrifuge } from 'centrifuge';
import { createClient } from 'redis';
import WebSocket from 'ws';
import { measurable, own, patience, shared, until } from './lib/gateway.mjs';
import { relay } from './lib/relay.mjs';

const run = promisify(execFile);

/** Settings that only a file can have. */
function configFile(t, text) {
  const folder = mkdtempSync(join(tmpdir(), 'pushgate-config-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'pushgate.conf');
  writeFileSync(path, text);
  return path;
}

/** A connected client of the redis package, closed with the test. */
async function redis(t, port, options) {
  const client = createClient({ url: `redis://127.0.0.1:${port}`, ...options });
  client.on('error', () => {});
  t.after(() => client.isOpen && client.destroy());
  return client.connect();
}

/** A stream of bytes to a server of either kind. */
async function dial(where) {
  const socket = net.connect(where);
  await once(socket, 'connect');
  const stream = { socket, bytes: '' };
  socket.setNoDelay(true);
  socket.setEncoding('latin1').on('data', text => { stream.bytes += text; }).on('error', () => {});
  stream.closed = once(socket, 'close');
  /** Sends a line and waits for the beginning of its answer. */
  stream.say = async line => {
    const length = stream.bytes.length;
    socket.write(`${line}\r\n`);
    while (stream.bytes.length === length) await once(socket, 'data', { signal: AbortSignal.timeout(5000 * patience) });
  };
  return stream;
}

describe('the same bytes as Redis', () => {
  const gateway = shared({ before, after });
  let redisServer, folder, path;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pushgate-redis-'));
    path = join(folder, 'redis.sock');
    redisServer = spawn('redis-server', ['--port', '0', '--unixsocket', path, '--save', '', '--dir', folder], { stdio: 'ignore' });
    await until('redis-server answers', () => run('redis-cli', ['-s', path, 'ping']).then(() => true, () => false));
  });
  after(async () => {
    redisServer.kill('SIGTERM');
    await once(redisServer, 'close');
    rmSync(folder, { recursive: true, force: true });
  });

  // Which of two connections says what; what each hears until it quits is compared.
  const scripts = {
    // Never two patterns that match one message: Redis tells them in the order of a hash table.
    'channels and patterns': [['a', 'SUBSCRIBE x y'], ['a', 'PSUBSCRIBE x* ??z'], ['b', 'PUBLISH x one'], ['b', 'PUBLISH xy two'], ['b', 'PUBLISH z three'],
      ['a', 'UNSUBSCRIBE x nothing'], ['b', 'PUBLISH x four'], ['a', 'PUNSUBSCRIBE x*'], ['b', 'PUBLISH x five'], ['b', 'PUBSUB NUMSUB x y z'],
      ['b', 'PUBSUB NUMPAT'], ['b', 'PUBSUB CHANNELS'], ['a', 'SUBSCRIBE y y'], ['b', 'PUBLISH y six']],
    'the end of everything': [['a', 'UNSUBSCRIBE'], ['a', 'PUNSUBSCRIBE'], ['a', 'SUBSCRIBE x'], ['a', 'UNSUBSCRIBE'], ['a', 'PSUBSCRIBE y'], ['a', 'PUNSUBSCRIBE'],
      ['a', 'UNSUBSCRIBE none'], ['a', 'PUNSUBSCRIBE none'], ['b', 'PUBLISH x one'], ['b', 'PUBLISH y one'], ['a', 'SUBSCRIBE x'], ['a', 'RESET'], ['b', 'PUBLISH x two'],
      ['a', 'PING']],
    'what a listener may say': [['a', 'SUBSCRIBE x'], ['a', 'PING'], ['a', 'PING hi'], ['a', 'ECHO hi'], ['a', 'PUBLISH x y'], ['a', 'HELLO'], ['a', 'SELECT 0'], ['a', 'FOO'],
      ['a', 'PING a b'], ['a', 'SUBSCRIBE'], ['b', 'PUBLISH x z']],
    globs: ['h?llo', 'h[ae]llo', 'h[^e]llo', 'h*o', 'h\\\\?llo', '[a-c]x', '[c-a]x', '[x', '*', '**l*', 'h[', '\\\\'].flatMap(glob => [['a', `PSUBSCRIBE "${glob}"`],
      ...['hello', 'hallo', 'h?llo', 'bx', 'hllo', 'HELLO', 'ho', 'x', 'h[', '\\\\'].map(name => ['b', `PUBLISH "${name}" m`]), ['a', 'PUNSUBSCRIBE']]),
    'empty names and bytes': [['a', 'SUBSCRIBE "\\x00\\r\\n" "\\xff"'], ['a', 'PSUBSCRIBE "\\xff*"'], ['b', 'PUBLISH "\\x00\\r\\n" "\\x00"'], ['b', 'PUBLISH "\\xff" "\\r\\n"'], ['b', 'PUBLISH "\\xff" ""']],
  };
  const hello3 = [['a', 'HELLO 3'], ['b', 'HELLO 3'], ['a', 'ECHO begin'], ['b', 'ECHO begin']];

  async function play(where, script) {
    const streams = { a: await dial(where), b: await dial(where) };
    for (const [who, line] of script) await streams[who].say(line);
    for (const stream of Object.values(streams)) {
      stream.socket.write('QUIT\r\n');
      await stream.closed;
    }
    return Object.values(streams).map(({ bytes }) => bytes.slice(Math.max(0, bytes.indexOf('$5\r\nbegin')))); // HELLO has our own name and version
  }

  for (const [name, script] of Object.entries(scripts)) {
    for (const [version, opening] of [['RESP2', []], ['RESP3', hello3]]) {
      // In RESP3 HELLO is allowed to a listener, and its answer names the server.
      const lines = [...opening, ...script].filter(([, line]) => version === 'RESP2' || line !== 'HELLO');
      test(`${name}, ${version}`, async () => {
        assert.deepEqual(await play({ host: '127.0.0.1', port: gateway().publish }, lines), await play({ path }, lines));
      });
    }
  }
});

describe('redis-cli', () => {
  const gateway = shared({ before, after });

  for (const [name, options] of [['RESP2', []], ['RESP3', ['-3']]]) {
    test(`redis-cli subscribe and psubscribe show what is published, ${name}`, async t => {
      const cli = (...words) => {
        const child = spawn('redis-cli', [...options, '-p', String(gateway().publish), ...words], { stdio: ['pipe', 'pipe', 'inherit'] });
        t.after(() => child.kill('SIGKILL'));
        child.text = '';
        child.stdout.setEncoding('utf8').on('data', text => { child.text += text; });
        return child;
      };
      const channel = cli('subscribe', 'news', 'sport'), pattern = cli('psubscribe', 'n*');
      await until('both listen', async () => (await gateway().metric('pushgate_listener_channels')) === 2 && (await gateway().metric('pushgate_listener_patterns')) === 1);
      const { stdout } = await run('redis-cli', [...options, '-p', String(gateway().publish), 'publish', 'news', 'hello']);
      assert.equal(stdout.trim(), '2');
      await until('both show it', () => channel.text.includes('hello') && pattern.text.includes('hello'));
      assert.deepEqual(channel.text.split('\n').slice(-4, -1), ['message', 'news', 'hello']);
      assert.deepEqual(pattern.text.split('\n').slice(-5, -1), ['pmessage', 'n*', 'news', 'hello']);
      for (const child of [channel, pattern]) child.kill('SIGTERM');
      await until('both are forgotten', async () => (await gateway().metric('pushgate_listeners')) === 0);
    });
  }

  test('redis-cli probes and completes as it does with Redis', async () => {
    const port = String(gateway().publish);
    assert.equal((await run('redis-cli', ['-p', port, 'command', 'docs'])).stdout.trim(), '');
    assert.match((await run('redis-cli', ['-p', port, 'info', 'listeners'])).stdout, /^# Listeners\r\nlisteners:0\r\n/);
    assert.match((await run('redis-cli', ['-p', port, 'info'])).stdout, /# History\r\nhistory_streams:0\r\n/);
  });
});

for (const RESP of [2, 3]) {
  describe(`the redis package, RESP${RESP}`, () => {
    const gateway = shared({ before, after });

    test('subscribe, pSubscribe and their ends', async t => {
      const backend = await redis(t, gateway().publish, { RESP });
      const listener = await redis(t, gateway().publish, { RESP });
      const heard = [];
      await listener.subscribe(['a', 'b'], (message, channel) => heard.push([channel, message]));
      await listener.pSubscribe('a*', (message, channel) => heard.push(['a*', channel, message]));
      assert.equal(await backend.publish('a', '1'), 2);
      assert.equal(await backend.publish('b', '2'), 1);
      assert.equal(await backend.publish('ab', 'ü€😀'), 1);
      assert.equal(await backend.publish('c', 'nobody'), 0);
      assert.deepEqual(await backend.pubSubNumSub(['a', 'b', 'c']), { __proto__: null, a: 1, b: 1, c: 0 });
      assert.equal(await backend.pubSubNumPat(), 1);
      await until('all four', () => heard.length === 4);
      assert.deepEqual(heard, [['a', '1'], ['a*', 'a', '1'], ['b', '2'], ['a*', 'ab', 'ü€😀']]);
      await listener.unsubscribe('a');
      await listener.pUnsubscribe('a*'); // this package waits for ever after one without names, with Redis too
      assert.equal(await backend.publish('a', '3'), 0);
      await listener.unsubscribe('b');
      assert.equal(String(await listener.ping()), 'PONG');
      assert.equal(await backend.pubSubNumPat(), 0);
    });

    test('payloads are bytes', async t => {
      const backend = await redis(t, gateway().publish, { RESP });
      const listener = await redis(t, gateway().publish, { RESP });
      const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
      const heard = new Promise(resolve => listener.subscribe('bytes', resolve, true));
      await until('it listens', async () => (await backend.pubSubNumSub(['bytes'])).bytes === 1);
      await backend.publish('bytes', bytes);
      assert.deepEqual(await heard, bytes);
    });

    test('a thousand pipelined messages arrive in order beside commands of the same connection', async t => {
      const backend = await redis(t, gateway().publish, { RESP });
      const listener = await redis(t, gateway().publish, { RESP });
      const heard = [];
      await listener.subscribe('order', message => heard.push(Number(message)));
      const answers = Array.from({ length: 1000 }, (_, i) => backend.publish('order', String(i)));
      const pings = RESP === 3 ? Array.from({ length: 100 }, (_, i) => listener.echo(`e${i}`)) : Array.from({ length: 100 }, () => listener.ping());
      assert.ok((await Promise.all(answers)).every(answer => answer === 1));
      const ponged = await Promise.all(pings);
      if (RESP === 3) assert.deepEqual(ponged, Array.from({ length: 100 }, (_, i) => `e${i}`));
      await until('all', () => heard.length === 1000);
      assert.deepEqual(heard, Array.from({ length: 1000 }, (_, i) => i));
    });

    test('whoever was cut comes back to all its channels', async t => {
      const channels = Array.from({ length: 3000 }, (_, i) => `channel:with:a:longer:name:${i}`);
      const backend = await redis(t, gateway().publish, { RESP });
      const between = await relay(t, gateway().publish);
      const listener = await redis(t, between.port, { RESP, socket: { reconnectStrategy: 20 } });
      const heard = [];
      await listener.subscribe(channels, message => heard.push(message));
      await listener.pSubscribe('other:*', message => heard.push(message));
      between.upstream().destroy();
      await until('it is gone', async () => (await backend.publish(channels[0], 'lost')) === 0);
      await until('it is back', async () => (await backend.publish(channels.at(-1), 'back')) === 1 && (await backend.publish('other:1', 'other')) === 1, 20000);
      await until('it hears', () => heard.includes('back') && heard.includes('other'));
      assert.equal(await gateway().metric('pushgate_listener_channels'), 3000);
    });
  });
}

describe('clients of the gateway', () => {
  const config = ['[topic chat:*]', 'history_size = 100', 'recover = on', 'presence = on', 'join_leave = on', 'publish = subscribers', ''].join('\n');

  /** A client of the published SDK. */
  async function centrifuge(t, gateway) {
    const client = new Centrifuge(`ws://127.0.0.1:${gateway.ws}/connection/websocket`, { websocket: WebSocket });
    t.after(() => client.disconnect());
    client.connect();
    await client.ready(5000 * patience);
    return client;
  }

  test("a client's publication, its coming and its leaving reach backends", async t => {
    const gateway = await own(t, { 'listen.origins': '*', config: configFile(t, config) });
    const listener = await redis(t, gateway.publish), backend = await redis(t, gateway.publish);
    const heard = [];
    await listener.subscribe('chat:1', message => heard.push(['chat:1', message]));
    await listener.pSubscribe('pushgate:*', (message, channel) => heard.push([channel, JSON.parse(message)]));
    const client = await centrifuge(t, gateway);
    const room = client.newSubscription('chat:1');
    room.subscribe();
    await room.ready(5000 * patience);
    await room.publish({ text: 'hi' });
    await backend.publish('chat:1', '"from a backend"');
    await until('its words', () => heard.length === 4);
    const [[, info]] = heard;
    assert.deepEqual(Object.keys(info).sort(), ['client', 'user']);
    assert.deepEqual(heard, [
      ['pushgate:join:chat:1', info], ['chat:1', '{"text":"hi"}'], ['pushgate:client:chat:1', { data: { text: 'hi' }, info, offset: 1 }],
      ['chat:1', '"from a backend"']]);

    // What the topic keeps, as a backend asks for it.
    const presence = await backend.sendCommand(['PRESENCE', 'chat:1']);
    assert.deepEqual([presence.length, presence[0], JSON.parse(presence[1])], [2, info.client, info]);
    assert.deepEqual(await backend.sendCommand(['PRESENCESTATS', 'chat:1']), ['clients', 1, 'users', 1]);
    const [epoch, top, items] = await backend.sendCommand(['HISTORY', 'chat:1', 'REV', 'COUNT', '2']);
    assert.match(epoch, /^[0-9a-f]{16}$/);
    assert.equal(top, 2);
    assert.deepEqual(items.map(([offset, payload]) => [offset, payload]), [[2, '"from a backend"'], [1, '{"text":"hi"}']]);
    assert.deepEqual(JSON.parse(items[1][2]), info);
    assert.equal(await backend.sendCommand(['HISTORYDEL', 'chat:1']), 2);

    client.disconnect();
    await until('its leaving', () => heard.length === 5);
    assert.deepEqual(heard[4], ['pushgate:leave:chat:1', info]);
  });
});

describe('a listener that stands still', () => {
  test('is cut, others hear everything, and its memory comes back', async t => {
    const gateway = await own(t, { 'publish.outbox_bytes': '16MiB' });
    const backend = await redis(t, gateway.publish);
    const slow = spawn('redis-cli', ['-p', String(gateway.publish), 'subscribe', 'load'], { stdio: ['pipe', 'ignore', 'inherit'] });
    t.after(() => slow.kill('SIGKILL'));
    const listener = await redis(t, gateway.publish);
    let next = 0, wrong = 0;
    await listener.subscribe('load', message => { wrong += Number(message.slice(0, 8)) !== next++; });
    const subscriber = new WebSocket(`ws://127.0.0.1:${gateway.ws}/ws?topic=load`);
    let arrived = 0;
    subscriber.on('message', () => { arrived++; });
    await once(subscriber, 'open');
    await gateway.subscribed('load', 3);
    await backend.publish('load', '00000000');
    await until('it came', () => next === 1 && arrived === 1);

    slow.kill('SIGSTOP');
    const before = gateway.rss();
    const bytes = 50000, count = 1000, payload = 'x'.repeat(bytes);
    let most = before, slowest = 0;
    for (let i = 1; i <= count; i++) {
      const began = Date.now();
      await backend.publish('load', `${String(i).padStart(8, '0')}${payload}`);
      slowest = Math.max(slowest, Date.now() - began);
      if (i % 20 === 0) {
        await until('the others are there', () => next === i + 1 && arrived === i + 1);
        most = Math.max(most, gateway.rss());
      }
    }
    await until('the others heard all', () => next === count + 1 && arrived === count + 1);
    assert.equal(wrong, 0);
    assert.equal(await gateway.metric('pushgate_listeners_cut_total'), 1);
    assert.equal(await gateway.metric('pushgate_listeners'), 1);
    await until('the log says why', () => /event=publisher_closed publisher=\d+ reason=slow_listener waiting_bytes=\d+/.test(gateway.stderr));
    assert.equal(gateway.stderr.match(/slow_listener/g).length, 1);
    if (measurable) {
      assert.ok(slowest < 1000, `a publish took ${slowest} ms`);
      assert.ok(most - before > 8 << 20, 'it did hold what waited'); // else this shows nothing
      assert.ok(most - before < 60 << 20, `${most - before} bytes at its worst`);
      await until('its memory is back', () => gateway.rss() - before < 6 << 20);
    }
    subscriber.terminate();
  });
});
