// A small WebSocket server with a Redis-protocol PUBLISH socket, for testing the load test: correct, or wrong in one known way.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import net from 'node:net';
import { WebSocketServer } from 'ws';

/** What happens to the third message of every tenth connection. */
const deliveries = {
  drop: () => {},
  duplicate: (socket, message) => { socket.send(message); socket.send(message); },
  corrupt: (socket, message) => socket.send(message.slice(0, -1) + '\x01'),
  misroute: (socket, message, foreign) => { socket.send(foreign); socket.send(message); },
  reorder: (socket, message) => { socket.held = message; },
  close: socket => socket.close(1013, 'busy'),
  cut: socket => socket.terminate(),
  reserved: socket => socket._socket.write(Buffer.from([0xf1, 0x00])),
  huge: socket => socket.send(Buffer.alloc(2 << 20)),
  rude: socket => socket.close(1013, '\x1b[31m\u202ered'),
  'corrupt time': (socket, message) => socket.send(message.slice(0, 40) + (message[40] === '0' ? '1' : '0') + message.slice(41)),
  inject: (socket, message) => { socket.send('X' + message.slice(1)); socket.send(message); },
  tardy: (socket, message) => { socket.tardy = message; }, // sent when the client closes
};

/** What becomes of a close frame of the client's. */
const conclusions = {
  'no close': socket => socket._socket.destroy(),
  'ignore close': () => {},
};

/** The commands that `buffer` begins with, as arrays of buffers, and what is left. */
function commands(buffer) {
  const whole = [];
  for (let start = 0; ;) {
    let at = start;
    const line = () => {
      const end = buffer.indexOf('\r\n', at);
      if (end < 0) return null;
      const text = buffer.toString('latin1', at, end);
      at = end + 2;
      return text;
    };
    const count = line(), words = [];
    while (count !== null && words.length < Number(count.slice(1))) {
      const length = line();
      if (length === null || buffer.length < at + Number(length.slice(1)) + 2) break;
      words.push(buffer.subarray(at, at + Number(length.slice(1))));
      at += Number(length.slice(1)) + 2;
    }
    if (count === null || words.length < Number(count.slice(1))) return { whole, rest: buffer.subarray(start) };
    whole.push(words);
    start = at;
  }
}

async function listen(server) {
  await new Promise((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
  return server.address().port;
}

const stallAt = 20, stallMs = 1000, sluggishMs = 10;

/** `fault`: a key of `deliveries` or `conclusions`, or envelope (a protocol of its own in binary frames: SUB TOPIC, then two messages a frame),
    fragment, ping, silent, pong, status, old status, accept, busy, full, half, late, neglect, recover, replay, refuse, refuse rudely, refuse
    some, hangup, impatient (the first to ask is answered and hung up on), stall (nothing is done for a second), sluggish (late replies), mute
    (no reply to PUBLISH); undefined for a correct server. recover and replay know clients by their addresses. `password`: PUBLISH needs AUTH
    before. `tls`: the only version. `seen()`: connections, refusals and messages so far. */
export async function flawed(t, { fault, certificate, password, tls = 'TLSv1.3' } = {}) {
  const server = certificate
    ? createSecureServer({ key: readFileSync(certificate.key), cert: certificate.pem, minVersion: tls, maxVersion: tls })
    : createServer();
  const upgrader = new WebSocketServer({ noServer: true, perMessageDeflate: false, autoPong: fault !== 'pong' });
  const topics = new Map(), sockets = new Set(), open = new Set(), history = new Map(), received = new Map(); // topic → messages, client → how many
  let connections = 0, refusals = 0, published = 0, messages = 0, newest = -Infinity, until;

  server.on('connection', socket => { sockets.add(socket); socket.on('close', () => sockets.delete(socket)); });
  server.on('upgrade', (request, stream, head) => {
    stream.on('error', () => {}); // a client that gives up resets it
    if (fault === 'old status') return stream.end('HTTP/1.0 503 Service Unavailable\r\n\r\n');
    if (fault === 'status') return stream.end('HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n');
    if (fault === 'busy' && connections >= 100 && refusals++ < 20) // those who come back must try again
      return stream.end('HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n');
    if (fault === 'full' && connections >= 100) { // nobody gets back
      refusals++;
      return stream.end('HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n');
    }
    if (fault === 'half' && open.size >= 50)
      return stream.end('HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n');
    if (fault === 'recover' && connections >= 100 && messages < (until ??= messages + 5)) // nobody is back before something has been missed
      return stream.end('HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n');
    if (fault === 'accept') {
      return stream.end('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
        'Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n');
    }
    upgrader.handleUpgrade(request, stream, head, socket => {
      const topic = new URL(request.url, 'ws://host').searchParams.get('topic');
      if (!topics.has(topic)) topics.set(topic, new Set());
      if (fault === 'envelope') {
        socket.send(Buffer.from('INFO PGL1 {}\r\n'));
        socket.on('message', (data, binary) => { if (binary && data.toString() === `SUB ${topic}\r\n`) topics.get(topic).add(socket); });
      } else if (fault === 'late' && connections >= 100) setTimeout(() => topics.get(topic).add(socket), 300);
      else if (fault !== 'neglect' || connections % 10 !== 3) topics.get(topic).add(socket);
      open.add(socket);
      socket.on('close', () => { topics.get(topic).delete(socket); open.delete(socket); }).on('error', () => {});
      Object.assign(socket, { flawed: connections++ % 10 === 3, count: 0, held: null, client: `${request.socket.remoteAddress} ${topic}` });
      if (fault === 'recover' || fault === 'replay') {
        for (const message of (history.get(topic) ?? []).slice(fault === 'recover' ? received.get(socket.client) ?? 0 : 0)) socket.send(message);
        received.set(socket.client, history.get(topic)?.length ?? 0);
      }
      if (fault === 'overlap' && performance.now() < newest + 80) socket.send(history.get(topic).at(-1)); // as if its fan-out were under way
      if (fault === 'pong') socket.on('ping', data => socket.pong(socket.flawed ? Buffer.alloc(data.length) : data));
      if (fault === 'tardy') socket._receiver.prependListener('conclude', () => { if (socket.tardy) socket.send(socket.tardy); });
      if (conclusions[fault] && (socket.flawed || connections > 50)) {
        socket._receiver.removeAllListeners('conclude');
        socket._receiver.on('conclude', () => conclusions[fault](socket));
      }
      if (fault === 'ping') socket.ping('hello');
      if (fault === 'silent' && socket.flawed) socket.pause();
    });
  });

  let before = { topic: '', message: '' };
  const deliver = (topic, message) => {
    messages++;
    if (!history.has(topic)) history.set(topic, []);
    history.get(topic).push(message);
    newest = performance.now();
    for (const socket of topics.get(topic) ?? []) {
      if (fault === 'fragment') {
        socket.send(message.slice(0, 50), { fin: false });
        socket.ping();
        socket.send(message.slice(50), { fin: true });
      } else if (fault === 'envelope') {
        const wrapped = `MSG ${topic} ${message.length}\r\n${message}\r\n`;
        if (socket.held) socket.send(Buffer.from(socket.held + wrapped));
        socket.held = socket.held ? null : wrapped;
      } else if (deliveries[fault] && socket.flawed && ++socket.count === 3) {
        deliveries[fault](socket, message, before.topic === topic ? message : before.message);
      } else {
        socket.send(message);
        received.set(socket.client, history.get(topic).length);
        if (socket.held) socket.send(socket.held);
        socket.held = null;
      }
    }
    before = { topic, message };
    return topics.get(topic)?.size ?? 0;
  };
  const publishing = net.createServer(stream => {
    let kept = Buffer.alloc(0), trusted = !password, stalled = false;
    const waiting = [];
    sockets.add(stream);
    const obey = ([verb, topic, message]) => {
      if (String(verb) === 'AUTH') {
        trusted ||= String(topic) === password;
        stream.write(trusted ? '+OK\r\n' : '-WRONGPASS invalid password\r\n');
      } else if (!trusted) stream.write('-NOAUTH Authentication required.\r\n');
      else if (String(verb) === 'PING') stream[fault === 'impatient' && published++ === 0 ? 'end' : 'write']('+PONG\r\n');
      else if (fault === 'refuse' || (fault === 'refuse some' && published++ % 3 === 1)) stream.write('-ERR no\r\n');
      else if (fault === 'refuse rudely') stream.write('-ERR \x1b]0;no\x07\r\n');
      else if (fault === 'hangup' && published++ === 5) stream.destroy();
      else if (fault === 'mute') deliver(topic.toString(), message.toString());
      else if (fault === 'sluggish') setTimeout(() => stream.write(`:${deliver(topic.toString(), message.toString())}\r\n`), sluggishMs);
      else stream.write(`:${deliver(topic.toString(), message.toString())}\r\n`);
    };
    const obeyAll = () => {
      while (waiting.length && !stalled && !stream.destroyed) {
        if (fault === 'stall' && published++ === stallAt) {
          stalled = true;
          setTimeout(() => { stalled = false; obeyAll(); }, stallMs);
        } else obey(waiting.shift());
      }
    };
    stream.on('close', () => sockets.delete(stream)).on('error', () => {}).on('data', data => {
      const { whole, rest } = commands(Buffer.concat([kept, data]));
      kept = rest;
      waiting.push(...whole);
      obeyAll();
    });
  });

  const port = await listen(server), publish = await listen(publishing);
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
    publishing.close();
  });
  const seen = () => ({ connections, refusals, messages });
  return { seen, target: `${certificate ? 'wss' : 'ws'}://127.0.0.1:${port}/ws?topic=load`, publish: `127.0.0.1:${publish}` };
}
