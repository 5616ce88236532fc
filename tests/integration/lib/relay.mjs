// A TCP proxy between a client and the gateway that a test can meddle with.
import { once } from 'node:events';
import net from 'node:net';

/**
 * Listens until the test ends and connects every client to `port` (or to what that returns, when it is a function).
 * `forward(data, upstream)` gets what clients send; the default passes it on. `idle`: milliseconds of silence in one direction after which both ends are cut.
 * Returns { port, upstream(), down(), up() } where upstream() is the newest socket to the gateway; down() cuts every
 * connection without a word, and each that is tried until up().
 */
export async function relay(t, port, { forward = (data, upstream) => upstream.write(data), idle = 0 } = {}) {
  let newest, away = false;
  const sockets = new Set();
  const server = net.createServer({ noDelay: true }, client => {
    if (away) {
      client.on('error', () => {}).resetAndDestroy();
      return;
    }
    const upstream = newest = net.connect({ host: '127.0.0.1', port: typeof port === 'function' ? port() : port, noDelay: true });
    const cut = () => { client.destroy(); upstream.destroy(); };
    for (const socket of [client, upstream]) sockets.add(socket.on('error', cut).on('close', cut).setTimeout(idle, cut));
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
    down() {
      away = true;
      sockets.forEach(socket => socket.resetAndDestroy());
    },
    up() { away = false; },
  };
}
