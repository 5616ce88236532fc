// A TCP proxy between a client and the gateway that a test can meddle with.
import { once } from 'node:events';
import net from 'node:net';

/** Ends it with a RST. One that has begun to end in another way must not be reset: Node would then never exit. */
function reset(socket) {
  if (socket.connecting || socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}

/**
 * Listens until the test ends and connects every client to `port` (or to what that returns, when it is a function).
 * `forward(data, upstream)` gets what clients send; the default passes it on. `idle`: milliseconds of silence in one direction after which both ends are cut.
 * Returns { port, upstream(), cut(), down(), up() } where upstream() is the newest socket to the gateway; cut() breaks it
 * without a word, down() every connection, and each that is tried until up().
 */
export async function relay(t, port, { forward = (data, upstream) => upstream.write(data), idle = 0 } = {}) {
  let newest, away = false;
  const sockets = new Set();
  const server = net.createServer({ noDelay: true }, client => {
    if (away) {
      reset(client.on('error', () => {}));
      return;
    }
    const upstream = newest = net.connect({ host: '127.0.0.1', port: typeof port === 'function' ? port() : port, noDelay: true });
    const cut = () => { client.destroy(); upstream.destroy(); };
    for (const socket of [client, upstream]) sockets.add(socket.on('error', cut).on('close', cut).setTimeout(idle, cut));
    for (const socket of [client, upstream]) socket.once('close', () => sockets.delete(socket));
    client.on('data', data => forward(data, upstream));
    upstream.on('data', data => client.write(data));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    sockets.forEach(socket => socket.destroy());
  });
  return {
    port: server.address().port,
    upstream: () => newest,
    cut() { reset(newest); },
    down() {
      away = true;
      sockets.forEach(reset);
    },
    up() { away = false; },
  };
}
