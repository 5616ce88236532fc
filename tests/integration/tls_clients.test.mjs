// TLS clients of all kinds, as they are installed, against the gateway: with either kind of certificate, and with keys that change all the time.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import tls from 'node:tls';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { selfSigned } from './lib/certificates.mjs';
import { Gateway, patience, until } from './lib/gateway.mjs';
import { TEXT, frame, open, upgradeHeaders } from './lib/wire.mjs';

const run = promisify(execFile);
const clients = fileURLToPath(new URL('clients/', import.meta.url));

/** A program with pipes; what it prints is kept. */
class Tool {
  out = '';
  exit = null;
  constructor(t, command, ...args) {
    this.process = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.process.stdin.on('error', () => {});
    for (const stream of [this.process.stdout, this.process.stderr]) stream.on('data', data => { this.out += data.toString('latin1'); });
    this.ended = new Promise(resolve => this.process.once('close', code => resolve(this.exit = code)));
    t.after(() => { if (this.exit === null) this.process.kill('SIGKILL'); return this.ended; });
  }
  write(bytes) { this.process.stdin.write(bytes); }
  async says(what, count = 1) {
    const times = () => this.out.split(what).length - 1;
    await until(`${JSON.stringify(what)} ${count} times; it said:\n${this.out.slice(-2000)}`, () => times() >= count || (this.exit !== null && times() < count && assert.fail(this.out)), 20000);
  }
}

const request = (gateway, path) => `GET ${path} HTTP/1.1\r\n${Object.entries(upgradeHeaders(gateway, 'wss')).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`;

const flavours = [
  ['an EC certificate', 'ec', {}],
  ['an RSA certificate', 'rsa', {}],
  ['keys of the gateway that change every seven records', 'ec', { 'debug.records_per_key': 8 }],
  ['ChaCha20-Poly1305 preferred', 'ec', { 'tls.ciphersuites': 'TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256', 'debug.records_per_key': 50 }],
];

for (const [name, kind, settings] of flavours) {
  describe(`with ${name}`, () => {
    let gateway, folder, made, publisher;
    before(async () => {
      folder = mkdtempSync(join(tmpdir(), 'pushgate-tls-'));
      made = selfSigned(folder, kind, { kind });
      gateway = await Gateway.start({ 'tls.certificate': made.certificate, 'tls.private_key': made.key, ...settings });
      gateway.certificate = made;
      publisher = await gateway.publisher();
    });
    after(async () => {
      await gateway?.stop();
      rmSync(folder, { recursive: true, force: true });
    });

    /** Publishes `count` messages, one after the other is heard. */
    async function tell(tool, topic, count, label = 'message') {
      for (let i = 0; i < count; i++) {
        const text = `<${label} ${i}>`;
        assert.equal(await publisher.command('PUBLISH', topic, text), 1);
        await tool.says(text);
      }
    }

    test('openssl s_client, which updates its keys and asks for ours', async t => {
      const client = new Tool(t, 'openssl', 's_client', '-connect', `127.0.0.1:${gateway.wss}`, '-CAfile', made.certificate, '-verify_return_error', '-alpn', 'h2,http/1.1', '-msg');
      await client.says('ALPN protocol: http/1.1');
      await client.says('Verify return code: 0 (ok)');
      client.write(request(gateway, '/ws?topic=s_client'));
      await client.says('HTTP/1.1 101');
      await gateway.subscribed('s_client');
      await tell(client, 's_client', 3);
      const updates = () => client.out.split('<<< TLS 1.3, Handshake [length 0005], KeyUpdate').length - 1;
      for (let i = 0; i < 5; i++) {
        for (const command of ['k', 'K']) {
          const before = updates();
          client.write(`${command}\n`);
          await client.says('KEYUPDATE', 2 * i + (command === 'k' ? 1 : 2));
          client.write(frame(10, 'pong')); // what it waits for to send its KeyUpdate
          if (command === 'K') await until('our KeyUpdate', () => updates() > before);
          await tell(client, 's_client', 2, `after ${command}${i}`);
        }
      }
      client.write('Q\n');
      assert.equal(await client.ended, 0);
      await gateway.subscribed('s_client', 0);
    });

    test('openssl s_client resumes with its ticket', async t => {
      const session = join(folder, 'session');
      const args = ['s_client', '-connect', `127.0.0.1:${gateway.wss}`, '-CAfile', made.certificate, '-verify_return_error'];
      const first = new Tool(t, 'openssl', ...args, '-sess_out', session);
      first.write(request(gateway, '/ws?topic=first'));
      await first.says('HTTP/1.1 101');
      assert.match(first.out, /New, TLSv1.3/);
      first.write('Q\n');
      await first.ended;
      const second = new Tool(t, 'openssl', ...args, '-sess_in', session);
      second.write(request(gateway, '/ws?topic=second'));
      await second.says('HTTP/1.1 101');
      assert.match(second.out, /Reused, TLSv1.3/);
      assert.match(second.out, /Server Temp Key: X25519/, 'a fresh key exchange');
      await gateway.subscribed('second');
      await tell(second, 'second', 10);
      second.write('Q\n');
      assert.equal(await second.ended, 0);
    });

    test('gnutls-cli, which updates its keys, asks for ours and resumes', async t => {
      const client = new Tool(t, 'gnutls-cli', '--x509cafile', made.certificate, '--alpn', 'http/1.1', '--inline-commands', '-p', String(gateway.wss), '127.0.0.1');
      await client.says('Simple Client Mode');
      assert.match(client.out, /Description: \(TLS1\.3/);
      client.write(request(gateway, '/ws?topic=gnutls'));
      await client.says('HTTP/1.1 101');
      await gateway.subscribed('gnutls');
      await tell(client, 'gnutls', 3);
      for (let i = 0; i < 4; i++) {
        client.write(i % 2 ? '^rekey1^\n' : '^rekey^\n');
        await client.says('Rekey was completed', i + 1);
        await tell(client, 'gnutls', 3, `after rekey ${i}`);
      }
      client.write('^resume^\n');
      await client.says('This is a resumed session');
      await gateway.subscribed('gnutls', 0);
      client.write(request(gateway, '/ws?topic=again'));
      await client.says('HTTP/1.1 101', 2);
      await gateway.subscribed('again');
      await tell(client, 'again', 10, 'resumed');
    });

    test('curl reads the demo page and upgrades', async t => {
      const args = ['--silent', '--show-error', '--cacert', made.certificate, '--tlsv1.3', '--max-time', String(20 * patience)];
      const { stdout } = await run('curl', [...args, '--write-out', '%{http_version} %{http_code}', `https://127.0.0.1:${gateway.wss}/`], { maxBuffer: 1 << 22 });
      assert.match(stdout, /<html/);
      assert.match(stdout, /1\.1 200$/);
      const headers = Object.entries(upgradeHeaders(gateway, 'wss')).flatMap(([key, value]) => ['-H', `${key}: ${value}`]);
      const client = new Tool(t, 'curl', ...args, '--http1.1', '--no-buffer', '--include', ...headers, `https://127.0.0.1:${gateway.wss}/ws?topic=curl`);
      await gateway.subscribed('curl'); // it prints the 101 when the first frame has come
      await tell(client, 'curl', 20);
      assert.match(client.out, /^HTTP\/1\.1 101 /);
    });

    test('Node resumes and hears messages of all sizes', async () => {
      let session;
      const first = await open(gateway, 'wss', '/ws?topic=node');
      await until('a ticket', () => { session ??= first.socket.getSession(); return first.socket.getTLSTicket(); });
      session = first.socket.getSession();
      first.destroy();
      const second = await open(gateway, 'wss', '/ws?topic=node', {}, { options: { session, ALPNProtocols: ['http/1.1'] } });
      assert.equal(second.socket.isSessionReused(), true);
      assert.equal(second.socket.alpnProtocol, 'http/1.1');
      await gateway.subscribed('node');
      for (const bytes of [0, 1, 125, 126, 16383, 16384, 16385, 65535, 65536, 3]) {
        await publisher.command('PUBLISH', 'node', 'n'.repeat(bytes));
        const message = await second.frame();
        assert.equal(message.opcode, TEXT);
        assert.equal(message.payload.length, bytes);
      }
      second.destroy();
    });

    test("Python's ssl resumes and hears messages", async t => {
      const client = new Tool(t, 'python3', join(clients, 'subscriber.py'), made.certificate, String(gateway.wss), 'python', '20');
      await client.says('subscribed');
      await gateway.subscribed('python');
      await tell(client, 'python', 20);
      assert.equal(await client.ended, 0, client.out);
    });

    test("Java's HttpClient, which updates its keys and asks for ours", async t => {
      const client = new Tool(t, 'java', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', join(clients, 'Subscriber.java'), made.certificate, String(gateway.wss), 'java', '20');
      await client.says('subscribed');
      await gateway.subscribed('java');
      await tell(client, 'java', 20);
      assert.equal(await client.ended, 0, client.out);
    });
  });
}

test('a client without TLS 1.3 is told so', async t => {
  const gateway = await Gateway.start();
  t.after(() => gateway.stop());
  await assert.rejects(new Promise((resolve, reject) => {
    tls.connect({ host: '127.0.0.1', port: gateway.wss, rejectUnauthorized: false, maxVersion: 'TLSv1.2' }, resolve).once('error', reject);
  }), /alert protocol version/);
});
