// A WebSocket client that may break every rule: frames are built and read by hand, over TCP or TLS 1.3.
import assert from 'node:assert/strict';
import net from 'node:net';
import tls from 'node:tls';
import { patience } from './gateway.mjs';

export const TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10;
const KEY = 'dGhlIHNhbXBsZSBub25jZQ=='; // RFC 6455 §1.3, with the answer it gives
export const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=';
const MASK = Buffer.from([0x37, 0xfa, 0x21, 0x3d]);

/** One frame. `mask: null` leaves it unmasked; `length`: 'short', 7, 16 or 64 forces an encoding; `claim`: a length that is not the payload's. */
export function frame(opcode, payload = '', { fin = true, rsv = 0, mask = MASK, length, claim } = {}) {
  const body = Buffer.from(payload), bytes = claim ?? body.length;
  const width = length ?? (bytes < 126 ? 7 : bytes < 65536 ? 16 : 64);
  const head = Buffer.alloc(width === 7 ? 2 : width === 16 ? 4 : 10);
  head[0] = (fin ? 0x80 : 0) | (rsv << 4) | opcode;
  head[1] = (mask ? 0x80 : 0) | (width === 7 ? bytes : width === 16 ? 126 : 127);
  if (width === 16) head.writeUInt16BE(bytes, 2);
  if (width === 64) head.writeBigUInt64BE(BigInt(bytes), 2);
  if (!mask) return Buffer.concat([head, body]);
  for (let i = 0; i < body.length; i++) body[i] ^= mask[i % 4];
  return Buffer.concat([head, mask, body]);
}

/** A close frame with a code and a reason. */
export function close(code, reason = '') {
  const head = Buffer.alloc(2);
  head.writeUInt16BE(code);
  return frame(CLOSE, Buffer.concat([head, Buffer.from(reason)]));
}

export class Wire {
  #chunks = [];
  #held = 0;
  #wake = null;
  ended = false; // the gateway's side has ended
  error = null;

  constructor(socket) {
    this.socket = socket;
    socket.on('data', data => { this.#chunks.push(data); this.#held += data.length; this.#wake?.(); });
    const over = () => { this.ended = true; this.#wake?.(); };
    socket.on('end', over).on('close', over).on('error', error => { this.error ??= error; over(); });
  }

  write(bytes) { this.socket.write(bytes); }
  destroy() { this.socket.destroy(); }
  reset() { this.tcp.resetAndDestroy(); }
  pause() { this.socket.pause(); }
  resume() { this.socket.resume(); }

  async #more(milliseconds, what) {
    let timer;
    await new Promise((resolve, reject) => {
      this.#wake = resolve;
      timer = setTimeout(() => reject(new assert.AssertionError({ message: `nothing came within ${milliseconds * patience} ms: ${what}` })), milliseconds * patience);
    });
    clearTimeout(timer);
    this.#wake = null;
  }

  #join() {
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0] ?? Buffer.alloc(0);
  }

  /** Exactly `bytes` bytes, or null when the connection ended before. */
  async read(bytes, milliseconds = 5000) {
    while (this.#held < bytes) {
      if (this.ended) return null;
      await this.#more(milliseconds, `${bytes} bytes`);
    }
    const all = this.#join();
    this.#chunks = all.length > bytes ? [all.subarray(bytes)] : [];
    this.#held -= bytes;
    return all.subarray(0, bytes);
  }

  /** Up to and including `mark`, as text; null when the connection ended before. */
  async readThrough(mark) {
    for (;;) {
      const at = this.#join().indexOf(mark);
      if (at >= 0) return (await this.read(at + mark.length)).toString('latin1');
      if (this.ended) return null;
      await this.#more(5000, JSON.stringify(mark));
    }
  }

  /** Sends a request and reads the response; the body too unless it is a 101. */
  async request(path, headers = {}, method = 'GET') {
    const lines = Object.entries(headers).filter(([, value]) => value !== undefined).flatMap(([name, value]) => [value].flat().map(one => `${name}: ${one}\r\n`));
    this.write(`${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`);
    return this.response();
  }

  async response() {
    const head = await this.readThrough('\r\n\r\n');
    if (head === null) return { status: 0, headers: {}, body: '' };
    const [first, ...rest] = head.trimEnd().split('\r\n');
    const result = { status: Number(/^HTTP\/1\.1 (\d{3}) /.exec(first)?.[1]), headers: {}, body: '' };
    for (const line of rest) {
      const colon = line.indexOf(':');
      result.headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
    }
    if (result.status !== 101 && result.headers['content-length']) result.body = (await this.read(Number(result.headers['content-length'])))?.toString() ?? '';
    return result;
  }

  /** The next frame: { opcode, fin, rsv, payload, text } and for a close { code, reason }; null when the connection ended. */
  async frame(milliseconds = 5000) {
    const head = await this.read(2, milliseconds);
    if (!head) return null;
    assert.equal(head[1] & 0x80, 0, 'a server must not mask');
    let bytes = head[1] & 0x7f;
    if (bytes === 126) bytes = (await this.read(2))?.readUInt16BE() ?? 0;
    else if (bytes === 127) bytes = Number((await this.read(8))?.readBigUInt64BE() ?? 0);
    const payload = bytes > 0 ? await this.read(bytes, milliseconds) : Buffer.alloc(0);
    if (!payload) return null;
    const result = { opcode: head[0] & 0xf, fin: head[0] >> 7 === 1, rsv: (head[0] >> 4) & 7, payload, text: payload.toString() };
    if (result.opcode === CLOSE) {
      result.code = bytes >= 2 ? payload.readUInt16BE() : 1005;
      result.reason = payload.subarray(2).toString();
    }
    return result;
  }

  /** Waits for the end of the gateway's side and returns what else came before it. */
  async rest(milliseconds = 5000) {
    while (!this.ended) await this.#more(milliseconds, 'the end of the connection');
    return this.#join();
  }
}

/** A TCP connection, or a TLS 1.3 one, without HTTP. */
export async function dial(gateway, transport, { options = {}, port } = {}) {
  const tcp = net.connect({ host: '127.0.0.1', port: port ?? gateway[transport], allowHalfOpen: true });
  tcp.setNoDelay(true);
  const socket = transport === 'wss' ? tls.connect({ socket: tcp, ca: gateway.certificate.pem, minVersion: 'TLSv1.3', allowHalfOpen: true, ...options }) : tcp;
  await new Promise((resolve, reject) => {
    tcp.once('error', reject);
    socket.once('error', reject).once(transport === 'wss' ? 'secureConnect' : 'connect', resolve);
  });
  const wire = new Wire(socket);
  wire.tcp = tcp;
  return wire;
}

export function upgradeHeaders(gateway, transport, more = {}) {
  return { Host: `127.0.0.1:${gateway[transport]}`, Upgrade: 'websocket', Connection: 'Upgrade', 'Sec-WebSocket-Key': KEY, 'Sec-WebSocket-Version': '13', ...more };
}

/** A WebSocket, ready for frames. */
export async function open(gateway, transport, path, headers = {}, how = {}) {
  const wire = await dial(gateway, transport, how);
  const response = await wire.request(path, upgradeHeaders(gateway, transport, headers));
  assert.equal(response.status, 101, `${path} over ${transport}: ${response.body}`);
  assert.equal(response.headers['sec-websocket-accept'], ACCEPT);
  return wire;
}

/** One upgrade attempt: the response. */
export async function attempt(gateway, transport, path, headers = {}, method = 'GET') {
  const wire = await dial(gateway, transport);
  try {
    return await wire.request(path, upgradeHeaders(gateway, transport, headers), method);
  } finally {
    wire.destroy();
  }
}
