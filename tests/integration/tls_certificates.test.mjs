// Certificates by name, their reload, ALPN, cipher suites, and session tickets across acceptors, gateways, reloads and rotations.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { appendFileSync, chmodSync, copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import { notAfter, selfSigned } from './lib/certificates.mjs';
import { Gateway, binary, own, preset, until } from './lib/gateway.mjs';
import { open } from './lib/wire.mjs';

/** A finished handshake: { subject, cipher, alpn, reused, type }. */
function shake(gateway, options = {}) {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ host: '127.0.0.1', port: gateway.wss, rejectUnauthorized: false, ...options }, () => {
      const result = { subject: socket.getPeerCertificate().subject?.CN, cipher: socket.getCipher().name, alpn: socket.alpnProtocol, reused: socket.isSessionReused() };
      socket.end(() => socket.destroy()); // its Finished goes out first
      resolve(result);
    });
    socket.once('error', reject);
  });
}

/** A session to resume with. */
async function ticket(gateway, options) {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ host: '127.0.0.1', port: gateway.wss, rejectUnauthorized: false, ...options });
    socket.once('error', reject).once('session', session => { socket.destroy(); resolve(session); });
    socket.resume();
  });
}
const resumes = async (gateway, session) => (await shake(gateway, { session })).reused;
/** Acceptors take up what is new each in its own time: true when eight connections in a row agree. */
async function eight(probe) {
  for (let i = 0; i < 8; i++) if (!await probe()) return false;
  return true;
}
const subject = async (gateway, servername) => (await shake(gateway, servername ? { servername } : {})).subject;

async function reload(gateway, says = /event=reloaded/) {
  const from = gateway.stderr.length;
  process.kill(gateway.pid, 'SIGHUP');
  await until(`the gateway says ${says}`, () => says.test(gateway.stderr.slice(from)));
}

describe('certificates by name', () => {
  let gateway, folder, files;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pushgate-tls-'));
    files = {
      fallback: selfSigned(folder, 'fallback'),
      exact: selfSigned(folder, 'exact', { kind: 'rsa', hosts: ['example.org'] }),
      wild: selfSigned(folder, 'wild', { hosts: ['*.example.org'] }),
      special: selfSigned(folder, 'special', { hosts: ['special.example.org'] }),
    };
    const config = join(folder, 'pushgate.conf');
    writeFileSync(config, `[tls]\ncertificate = ${files.fallback.certificate}\nprivate_key = ${files.fallback.key}\n` +
      [['example.org', 'exact'], ['*.example.org', 'wild'], ['special.example.org', 'special']]
        .map(([host, name]) => `[tls ${host}]\ncertificate = ${files[name].certificate}\nprivate_key = ${files[name].key}\n`).join(''));
    gateway = await Gateway.start({ config, 'tls.certificate': files.fallback.certificate, 'tls.private_key': files.fallback.key });
  });
  after(async () => {
    await gateway?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  for (const [host, name] of [[null, 'fallback'], ['example.org', 'exact'], ['EXAMPLE.ORG', 'exact'], ['a.example.org', 'wild'], ['special.example.org', 'special'],
    ['a.b.example.org', 'fallback'], ['example.com', 'fallback'], ['localhost', 'fallback']]) {
    test(`${host ?? 'no name'}: the certificate of ${name}`, async () => assert.equal(await subject(gateway, host), name));
  }
  test('a client that verifies is served by name, and resumes by name', async () => {
    const options = { servername: 'a.example.org', ca: files.wild.pem, rejectUnauthorized: true };
    const session = await ticket(gateway, options);
    assert.equal((await shake(gateway, { ...options, session })).reused, true);
  });
  test('/metrics tells when each ends', async () => {
    for (const [host, name] of [['*', 'fallback'], ['example.org', 'exact'], ['*.example.org', 'wild'], ['special.example.org', 'special']])
      assert.equal(await gateway.metric('pushgate_certificate_not_after_timestamp_seconds', `{host="${host}"}`), notAfter(files[name].pem), host);
  });
  test('SIGHUP reloads every one of them; connections stay', async () => {
    const wire = await open({ ...gateway, wss: gateway.wss, certificate: files.fallback }, 'wss', '/ws?topic=stays');
    const session = await ticket(gateway);
    for (const [name, hosts] of [['fallback', ['localhost']], ['exact', ['example.org']], ['wild', ['*.example.org']], ['special', ['special.example.org']]]) {
      const fresh = selfSigned(folder, `new-${name}`, { kind: name === 'fallback' ? 'rsa' : 'ec', hosts, days: 5 });
      copyFileSync(fresh.key, files[name].key);
      copyFileSync(fresh.certificate, files[name].certificate);
    }
    const link = selfSigned(folder, 'link', { days: 1 });
    appendFileSync(files.wild.certificate, link.pem);
    await reload(gateway);
    await until('both acceptors have the new ones', async () => {
      const names = await Promise.all([...Array(8)].flatMap(() => [null, 'example.org', 'a.example.org', 'special.example.org'].map(host => subject(gateway, host))));
      return names.every(name => name.startsWith('new-')) && new Set(names).size === 4;
    });
    assert.equal(await resumes(gateway, session), true, 'tickets outlive a reload');
    const ends = host => gateway.metric('pushgate_certificate_not_after_timestamp_seconds', `{host="${host}"}`);
    assert.equal(await ends('*'), notAfter(readFileSync(files.fallback.certificate)));
    assert.equal(await ends('*.example.org'), notAfter(link.pem), 'a chain ends with its first link that does');
    const publisher = await gateway.publisher();
    await publisher.command('PUBLISH', 'stays', 'here');
    assert.equal((await wire.frame()).text, 'here');
    wire.destroy();
  });
  test('one bad file keeps all that were in use', async () => {
    const kept = readFileSync(files.wild.certificate);
    writeFileSync(files.wild.certificate, 'nonsense');
    await reload(gateway, /event=reload_failed.*\[tls \*\.example\.org\]: certificate .*no usable PEM certificate/);
    assert.equal(await subject(gateway, 'a.example.org'), 'new-wild');
    writeFileSync(files.wild.certificate, kept);
    await reload(gateway);
  });
});

describe('what is negotiated', () => {
  test('ALPN: http/1.1 among others, none without, no_application_protocol for others', async t => {
    const gateway = await own(t);
    assert.equal((await shake(gateway, { ALPNProtocols: ['h2', 'http/1.1'] })).alpn, 'http/1.1');
    assert.equal((await shake(gateway)).alpn, false);
    await assert.rejects(shake(gateway, { ALPNProtocols: ['h2'] }), /no application protocol/i);
  });
  test('tls.ciphersuites: its order holds, whatever the client prefers', async t => {
    const aes = 'TLS_AES_128_GCM_SHA256', chacha = 'TLS_CHACHA20_POLY1305_SHA256';
    for (const list of [[aes, chacha], [chacha, aes], [chacha]]) {
      const gateway = await own(t, { 'tls.ciphersuites': list.join(':') });
      for (const ciphers of [`${aes}:${chacha}`, `${chacha}:${aes}`]) assert.equal((await shake(gateway, { ciphers })).cipher, list[0]);
      if (list.length === 1) await assert.rejects(shake(gateway, { ciphers: aes }), /handshake failure/i);
    }
  });
  for (const [list, words] of [['TLS_AES_256_GCM_SHA384', 'none of TLS_AES_128_GCM_SHA256'], ['TLS_AES_128_GCM_SHA256:TLS_AES_128_GCM_SHA256', 'stands twice'], ['', 'none of']]) {
    test(`tls.ciphersuites=${list} is refused with a sentence`, () => {
      const { status, stderr } = spawnSync(binary, ['--listen.ws=127.0.0.1:0', `--tls.ciphersuites=${list}`], { encoding: 'utf8' });
      assert.equal(status, 2);
      assert.match(stderr, new RegExp(`tls\\.ciphersuites: .*${words}`));
    });
  }
});

describe('session tickets', () => {
  test('every acceptor resumes the tickets of every other', async t => {
    const gateway = await own(t, { 'threads.acceptors': 4 });
    const sessions = await Promise.all([...Array(8)].map(() => ticket(gateway)));
    for (const session of sessions) assert.equal(await resumes(gateway, session), true);
    await until('they are counted', async () => await gateway.metric('pushgate_tls_resumed_total') === 8);
  });
  test('keys rotate: a ticket is honoured for one period more, then a full handshake follows', async t => {
    const gateway = await own(t, { 'tls.ticket_rotation': '1s' });
    const rotations = () => gateway.stderr.split('event=ticket_keys_rotated').length - 1;
    const rotated = async count => until(`${count} rotations`, () => rotations() >= count);
    await rotated(1);
    const session = await ticket(gateway, {});
    const at = rotations();
    await rotated(at + 2);
    await sleep(100);
    assert.equal(await resumes(gateway, session), false);
    const next = await ticket(gateway, {}), seen = rotations();
    await rotated(seen + 1);
    if (rotations() === seen + 1) assert.equal(await resumes(gateway, next), true);
  });
  test('tls.tickets: as many as it says after a full handshake; 0 makes none', async t => {
    for (const tickets of [0, 1, 3]) {
      const gateway = await own(t, { 'tls.tickets': tickets });
      const socket = tls.connect({ host: '127.0.0.1', port: gateway.wss, rejectUnauthorized: false });
      let seen = 0;
      socket.on('session', () => seen++).resume();
      await sleep(500); // without a request they leave after 200 ms
      assert.equal(seen, tickets);
      socket.destroy();
    }
  });
  test('tls.ticket_key_file: gateways share it, SIGHUP re-reads it, strangers may not read it', async t => {
    const folder = mkdtempSync(join(tmpdir(), 'pushgate-tls-')), file = join(folder, 'tickets');
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const old = randomBytes(80), fresh = randomBytes(80);
    writeFileSync(file, old, { mode: 0o600 });
    const [one, two, stranger] = [await own(t, { 'tls.ticket_key_file': file }), await own(t, { 'tls.ticket_key_file': file }), await own(t)];
    const session = await ticket(one);
    assert.equal(await resumes(two, session), true);
    assert.equal(await resumes(stranger, session), false);
    /* A rotation by the operator: the new key opens first, then makes. */
    writeFileSync(file, Buffer.concat([fresh, old]));
    await reload(two);
    assert.equal(await resumes(two, session), true);
    let next;
    await until('two makes tickets with the new key, which one does not know', async () => { next = await ticket(two); return !await resumes(one, next); });
    await reload(one);
    await until('one knows it', () => eight(() => resumes(one, next)));
    writeFileSync(file, fresh);
    await reload(one);
    await until('the old key is gone', () => eight(async () => !await resumes(one, session)));
    assert.equal(await resumes(one, next), true);
    chmodSync(file, 0o644);
    await reload(one, /event=reload_failed.*lets others at the keys/);
    assert.equal(await resumes(one, next), true, 'the keys in use are kept');
    const refused = spawnSync(binary, ['--listen.wss=127.0.0.1:0', '--auth.anonymous=on', `--tls.certificate=${one.certificate.certificate}`, `--tls.private_key=${one.certificate.key}`, `--tls.ticket_key_file=${file}`,
      ...(preset === 'tsan' ? ['--threads.private_fds=off'] : [])], { encoding: 'utf8' });
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /lets others at the keys; set it with chmod 600/);
  });
});

describe('secrets stay inside', () => {
  const limits = gateway => readFileSync(`/proc/${gateway.pid}/limits`, 'utf8');
  test('no core dumps by default; keys stay out of them even when asked for', async t => {
    const gateway = await own(t, { 'debug.core_dumps': 'off' }, { wrap: ['prlimit', '--core=1000000:1000000'] });
    assert.match(limits(gateway), /Max core file size +0 +0 /);
    if (preset === 'asan' || preset === 'tsan') return; // sanitizers allow no core dumps, and make memory of their own
    const asked = await own(t, { 'debug.core_dumps': 'on' }, { wrap: ['prlimit', '--core=1000000:1000000'] });
    assert.match(limits(asked), /Max core file size +1000000 /);
    const hidden = readFileSync(`/proc/${asked.pid}/smaps`, 'utf8').split('\n').filter(line => /^VmFlags:.* dd( |$)/.test(line)).length;
    assert.ok(hidden >= 5, `${hidden} stretches are left out of core dumps: slots of two reactors and two acceptors, ticket keys`);
  });
  test('nothing secret is logged, at any level', async t => {
    const gateway = await own(t, { 'log.level': 'debug' });
    const secrets = [];
    const socket = tls.connect({ host: '127.0.0.1', port: gateway.wss, rejectUnauthorized: false });
    socket.on('keylog', line => secrets.push(...line.toString().trim().split(' ').slice(1)));
    await new Promise(resolve => socket.once('secureConnect', resolve));
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await sleep(100);
    socket.destroy();
    assert.ok(secrets.length >= 8);
    for (const secret of secrets) assert.ok(!gateway.stderr.toLowerCase().includes(secret), 'a secret was logged');
    const key = execFileSync('openssl', ['pkey', '-in', gateway.certificate.key, '-outform', 'DER']).toString('base64').slice(20, 60);
    assert.ok(!gateway.stderr.includes(key));
  });
});
