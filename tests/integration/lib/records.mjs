// A TLS 1.3 client whose records are made and opened by hand once Node has done the handshake: it may break every rule of RFC 8446 §5 and §6.
import assert from 'node:assert/strict';
import { createCipheriv, createDecipheriv, createHmac } from 'node:crypto';
import net from 'node:net';
import { Duplex } from 'node:stream';
import tls from 'node:tls';
import { patience } from './gateway.mjs';
import { upgradeHeaders } from './wire.mjs';

export const CHANGE_CIPHER_SPEC = 20, ALERT = 21, HANDSHAKE = 22, DATA = 23;
export const ALERTS = {
  close_notify: 0, unexpected_message: 10, bad_record_mac: 20, record_overflow: 22, illegal_parameter: 47, decode_error: 50, user_canceled: 90,
};
export const keyUpdate = value => Buffer.from([24, 0, 0, 1, value]);

/** HKDF-Expand-Label(secret, label, "", bytes), RFC 8446 §7.1; one block of SHA-256 is enough. */
function expandLabel(secret, label, bytes) {
  const name = Buffer.from(`tls13 ${label}`);
  return createHmac('sha256', secret).update(Buffer.concat([Buffer.from([0, bytes, name.length]), name, Buffer.from([0, 1])])).digest().subarray(0, bytes);
}

class Direction {
  constructor(suite, secret) { this.suite = suite; this.install(secret); }
  install(secret) {
    this.secret = secret;
    this.key = expandLabel(secret, 'key', this.suite === 'aes-128-gcm' ? 16 : 32);
    this.iv = expandLabel(secret, 'iv', 12);
    this.sequence = 0n;
  }
  update() { this.install(expandLabel(this.secret, 'traffic upd', 32)); }
  nonce(sequence) {
    const nonce = Buffer.from(this.iv), count = Buffer.alloc(8);
    count.writeBigUInt64BE(sequence);
    for (let i = 0; i < 8; i++) nonce[4 + i] ^= count[i];
    return nonce;
  }
}

export class Records {
  #received = Buffer.alloc(0);
  #wake = null;
  ended = false;
  plain = Buffer.alloc(0); // application data that was read and not yet asked for

  static async connect(gateway, options = {}) {
    const records = new Records();
    const tcp = net.connect({ host: '127.0.0.1', port: gateway.wss, allowHalfOpen: true });
    tcp.setNoDelay(true);
    records.tcp = tcp;
    records.gateway = gateway;
    const bridge = new Duplex({ read() {}, write(data, _, done) { tcp.write(data, done); }, destroy(_, done) { done(null); } });
    let ours = false;
    tcp.on('data', data => {
      if (!ours) { bridge.push(data); return; }
      records.#received = Buffer.concat([records.#received, data]);
      records.#wake?.();
    });
    const over = () => { records.ended = true; records.#wake?.(); };
    tcp.on('end', over).on('close', over).on('error', error => { records.error = error; over(); });
    const socket = tls.connect({ socket: bridge, ca: gateway.certificate.pem, minVersion: 'TLSv1.3', ...options });
    const secrets = {};
    socket.on('keylog', line => {
      const [label, , secret] = line.toString().trim().split(' ');
      secrets[label] = Buffer.from(secret, 'hex');
    });
    await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
    ours = true; // whatever comes now was sent after the server's Finished
    const suite = { TLS_AES_128_GCM_SHA256: 'aes-128-gcm', TLS_CHACHA20_POLY1305_SHA256: 'chacha20-poly1305' }[socket.getCipher().name];
    records.write = new Direction(suite, secrets.CLIENT_TRAFFIC_SECRET_0);
    records.read = new Direction(suite, secrets.SERVER_TRAFFIC_SECRET_0);
    return records;
  }

  /** Connected and upgraded. */
  static async open(gateway, path, options) {
    const records = await Records.connect(gateway, options);
    const lines = Object.entries(upgradeHeaders(gateway, 'wss')).map(([name, value]) => `${name}: ${value}\r\n`);
    records.send(DATA, `GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`);
    const response = await records.data(/\r\n\r\n$/);
    assert.match(response.toString(), /^HTTP\/1\.1 101 /);
    return records;
  }

  /** One record. `padding`: zero bytes; `type` null leaves the inner type out; `update`: the sequence number moves on. */
  seal(type, content, { padding = 0, outer = DATA } = {}) {
    const inner = Buffer.concat([Buffer.from(content), Buffer.from(type === null ? [] : [type]), Buffer.alloc(padding)]);
    const header = Buffer.from([outer, 3, 3, (inner.length + 16) >> 8, (inner.length + 16) & 255]);
    const cipher = createCipheriv(this.write.suite, this.write.key, this.write.nonce(this.write.sequence++), { authTagLength: 16 });
    cipher.setAAD(header, { plaintextLength: inner.length });
    return Buffer.concat([header, cipher.update(inner), cipher.final(), cipher.getAuthTag()]);
  }

  raw(bytes) { this.tcp.write(bytes); }
  send(type, content, options) { this.raw(this.seal(type, content, options)); }
  keyUpdate(request) {
    this.send(HANDSHAKE, keyUpdate(request ? 1 : 0));
    this.write.update();
  }
  end() { this.tcp.end(); }
  destroy() { this.tcp.destroy(); }

  async #need(bytes, milliseconds) {
    const deadline = Date.now() + milliseconds * patience;
    while (this.#received.length < bytes && !this.ended) {
      let timer;
      await new Promise((resolve, reject) => {
        this.#wake = resolve;
        timer = setTimeout(() => reject(new assert.AssertionError({ message: 'no record came' })), Math.max(deadline - Date.now(), 1));
      });
      clearTimeout(timer);
      this.#wake = null;
    }
    return this.#received.length >= bytes;
  }

  /** The next record of the gateway, opened: { type, content }; null when the connection ended. Tickets are passed over, KeyUpdates followed. */
  async next(milliseconds = 5000) {
    for (;;) {
      if (!await this.#need(5, milliseconds)) return null;
      const bytes = 5 + this.#received.readUInt16BE(3);
      if (!await this.#need(bytes, milliseconds)) return null;
      const record = this.#received.subarray(0, bytes);
      this.#received = this.#received.subarray(bytes);
      assert.equal(record[0], DATA, 'only protected records after the handshake');
      const cipher = createDecipheriv(this.read.suite, this.read.key, this.read.nonce(this.read.sequence++), { authTagLength: 16 });
      cipher.setAAD(record.subarray(0, 5), { plaintextLength: bytes - 21 });
      cipher.setAuthTag(record.subarray(-16));
      const inner = Buffer.concat([cipher.update(record.subarray(5, -16)), cipher.final()]);
      const type = inner.at(-1), content = inner.subarray(0, -1);
      if (type === HANDSHAKE && content[0] === 4) continue;
      if (type === HANDSHAKE && content[0] === 24) this.read.update();
      return { type, content };
    }
  }

  /** Application data until it ends with `pattern`. */
  async data(pattern) {
    while (!pattern.test(this.plain.toString('latin1'))) {
      const record = await this.next();
      assert.equal(record?.type, DATA, `application data: ${JSON.stringify(record)}`);
      this.plain = Buffer.concat([this.plain, record.content]);
    }
    const all = this.plain;
    this.plain = Buffer.alloc(0);
    return all;
  }

  /** The alert that ends the connection, and that nothing comes after it. */
  async alert() {
    for (;;) {
      const record = await this.next();
      if (!record) return null;
      if (record.type !== ALERT) continue;
      assert.equal(record.content.length, 2);
      const [level, description] = record.content;
      assert.equal(level, description === ALERTS.close_notify ? 1 : 2);
      assert.equal(await this.next(), null, 'nothing after an alert');
      return Object.keys(ALERTS).find(name => ALERTS[name] === description) ?? description;
    }
  }
}
