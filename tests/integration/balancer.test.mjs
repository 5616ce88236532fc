// Behind real balancers: PROXY headers, forwarded addresses, and the limits and lists that go by them.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import tls from 'node:tls';
import { freePort, own, patience, shared, until } from './lib/gateway.mjs';
import { TEXT, Wire, frame, upgradeHeaders } from './lib/wire.mjs';

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');

/** A version 1 line. */
const line = (source, port = 1000) => Buffer.from(`PROXY TCP${net.isIPv6(source) ? 6 : 4} ${source} ${net.isIPv6(source) ? '::1' : '127.0.0.1'} ${port} 443\r\n`);

/** A version 2 header. */
function binary(command, family, body = Buffer.alloc(0)) {
  const head = Buffer.from([0x20 | command, family, body.length >> 8, body.length & 255]);
  return Buffer.concat([SIGNATURE, head, body]);
}
const ipv4 = (source, port = 1000) => binary(1, 0x11, Buffer.concat([Buffer.from(source.split('.').map(Number)), Buffer.from([127, 0, 0, 1, port >> 8, port & 255, 1, 187])]));

/**
 * Connects to a listener from `from`, sends `header` in pieces of `piece` bytes, the last of them in one segment with what the client says
 * first, and speaks TLS behind it over wss.
 */
async function behind(gateway, transport, header, { from = '127.0.0.1', piece = Infinity, port = gateway[transport] } = {}) {
  const tcp = net.connect({ host: '127.0.0.1', port, localAddress: from, allowHalfOpen: true });
  tcp.setNoDelay(true);
  await new Promise((resolve, reject) => tcp.once('connect', resolve).once('error', reject));
  for (; header.length > piece; header = header.subarray(piece)) {
    await new Promise(resolve => tcp.write(header.subarray(0, piece), resolve));
    await new Promise(setImmediate);
  }
  tcp.cork();
  tcp.write(header);
  let socket = tcp;
  if (transport === 'wss') {
    socket = tls.connect({ socket: tcp, ca: gateway.certificate.pem, minVersion: 'TLSv1.3', servername: 'localhost' });
    process.nextTick(() => tcp.uncork());
    await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject).once('close', () => reject(new Error('closed'))));
  }
  const wire = new Wire(socket);
  wire.tcp = tcp;
  return wire;
}

/** The response to an upgrade behind a header. */
async function upgraded(gateway, transport, header, how = {}) {
  const wire = await behind(gateway, transport, header, how);
  const answer = wire.request('/ws?topic=news', upgradeHeaders(gateway, transport, how.headers));
  if (transport === 'ws') wire.tcp.uncork();
  return { wire, ...await answer };
}

/** What a listener does with bytes: the end, without an answer. */
async function silence(gateway, transport, bytes, from = '127.0.0.1') {
  const tcp = net.connect({ host: '127.0.0.1', port: gateway[transport], localAddress: from, allowHalfOpen: true });
  const wire = new Wire(tcp);
  await new Promise(resolve => tcp.once('connect', resolve));
  wire.write(bytes);
  assert.equal((await wire.rest()).length, 0, 'closed without an answer');
  wire.destroy();
}

const failures = (gateway, reason) => gateway.metric('pushgate_handshake_failures_total', `reason="${reason}"`);

/** Waits for a line about a client. */
const logged = (gateway, event, client) => until(`${event} of ${client} is logged`, () => gateway.stderr.includes(`event=${event} `) &&
  gateway.stderr.split('\n').some(one => one.includes(`event=${event} `) && one.includes(`client=${client}`)));

/** Starts a program for one test, waits for its port, and ends it by its process id. */
async function run(t, port, command, args) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  child.stdout.on('data', data => { said += data; });
  child.stderr.on('data', data => { said += data; });
  const ended = new Promise(resolve => child.once('close', resolve));
  t.after(async () => { child.kill('SIGTERM'); await ended; });
  await until(`${command} listens`, () => new Promise((resolve, reject) => {
    if (child.exitCode !== null) reject(new assert.AssertionError({ message: `${command} ended: ${said}` }));
    const probe = net.connect(port, '127.0.0.1', () => { probe.destroy(); resolve(true); }).on('error', () => resolve(false));
  }), 10000);
  return port;
}

/** HAProxy in TCP mode, with options of its server line. */
async function haproxy(t, gateway, transport, options) {
  const port = await freePort(), file = join(gateway.folder, `haproxy-${port}.cfg`);
  writeFileSync(file, `global
  nbthread 1
  maxconn 200
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen pushgate
  bind 127.0.0.1:${port}
  bind ::1:${port} v6only
  server gateway 127.0.0.1:${gateway[transport]} ${options}
`);
  return run(t, port, 'haproxy', ['-db', '-f', file]);
}

/** nginx with a stream or http section of its own. */
async function nginx(t, gateway, section) {
  const port = await freePort(), folder = join(gateway.folder, `nginx-${port}`);
  mkdirSync(folder);
  const file = join(folder, 'nginx.conf');
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(name => `${name}_temp_path ${folder}/${name};`).join(' ');
  writeFileSync(file, `load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off; master_process off; worker_processes 1; pid ${folder}/pid; error_log stderr warn;
events { worker_connections 200; }
${section(port).replace('http {', `http { access_log off; ${temporary}`)}
`);
  return run(t, port, 'nginx', ['-e', 'stderr', '-p', folder, '-c', file]);
}

const nginxStream = (t, gateway, transport) => nginx(t, gateway, port =>
  `stream { server { listen 127.0.0.1:${port}; proxy_pass 127.0.0.1:${gateway[transport]}; proxy_protocol on; } }`);

/** A WebSocket through a balancer that passes TCP on: [wire, the address it has here]. */
async function through(gateway, transport, port, from) {
  const options = { ca: gateway.certificate.pem, servername: 'localhost' };
  const tcp = net.connect({ host: net.isIPv6(from) ? '::1' : '127.0.0.1', port, localAddress: from, allowHalfOpen: true });
  await new Promise((resolve, reject) => tcp.once('connect', resolve).once('error', reject));
  const socket = transport === 'wss' ? tls.connect({ socket: tcp, ...options }) : tcp;
  if (transport === 'wss') await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
  const wire = new Wire(socket), local = net.isIPv6(from) ? `[${from}]:${tcp.localPort}` : `${from}:${tcp.localPort}`;
  return { wire, local, ...await wire.request('/ws?topic=news', upgradeHeaders(gateway, transport)) };
}

describe('a listener with PROXY headers', () => {
  const gateway = shared({ before, after }, {
    'listen.proxy_protocol': 'ws wss', 'listen.trusted': '127.0.0.1', 'log.level': 'debug', 'limits.connections_per_ip': 2,
  });

  const balancers = {
    'HAProxy with send-proxy': (t, transport) => haproxy(t, gateway(), transport, 'send-proxy'),
    'HAProxy with send-proxy-v2, a checksum, an id and its own health checks': (t, transport) =>
      haproxy(t, gateway(), transport, 'send-proxy-v2 proxy-v2-options crc32c,unique-id check inter 100ms check-send-proxy'),
    'nginx with proxy_protocol': (t, transport) => nginxStream(t, gateway(), transport),
  };
  for (const [name, start] of Object.entries(balancers)) {
    for (const transport of ['ws', 'wss']) {
      test(`${name} over ${transport}: messages come, the log has the client, limits count it`, async t => {
        const malformed = await failures(gateway(), 'proxy_header_malformed');
        const port = await start(t, transport);
        const all = [await through(gateway(), transport, port, '127.0.0.5'), await through(gateway(), transport, port, '127.0.0.5')];
        t.after(() => all.forEach(({ wire }) => wire.destroy()));
        assert.deepEqual(all.map(({ status }) => status), [101, 101]);
        await gateway().subscribed('news', 2);
        assert.equal(await gateway().probe.publish('news', 'hello'), 2);
        for (const { wire, local } of all) {
          assert.equal((await wire.frame()).text, 'hello');
          await logged(gateway(), 'open', local);
        }
        all.push(await through(gateway(), transport, port, '127.0.0.5'), await through(gateway(), transport, port, '127.0.0.6'));
        assert.deepEqual(all.map(({ status }) => status), [101, 101, 429, 101]);
        all.forEach(({ wire }) => wire.destroy());
        await logged(gateway(), 'close', all[0].local);
        await gateway().connections(0);
        assert.equal(await failures(gateway(), 'proxy_header_malformed'), malformed);
      });
    }
  }

  test('a client of HAProxy over IPv6 is known by its IPv6 address', async t => {
    const port = await haproxy(t, gateway(), 'wss', 'send-proxy-v2');
    const { wire, status, local } = await through(gateway(), 'wss', port, '::1');
    assert.equal(status, 101);
    await logged(gateway(), 'open', local);
    wire.destroy();
    await gateway().connections(0);
  });

  for (const transport of ['ws', 'wss']) {
    test(`${transport}: headers in one segment with what follows, and byte by byte`, async () => {
      const headers = { '192.0.2.1:1000': line('192.0.2.1'), '[2001:db8::1]:99': line('2001:db8::1', 99), '192.0.2.2:4096': ipv4('192.0.2.2', 4096),
        unix: binary(1, 0x31, Buffer.alloc(216)) };
      for (const [client, header] of Object.entries(headers)) {
        for (const piece of [Infinity, 1]) {
          const { wire, status } = await upgraded(gateway(), transport, header, { piece });
          assert.equal(status, 101, client);
          await logged(gateway(), 'open', client);
          wire.destroy();
          await gateway().connections(0);
        }
      }
    });

    test(`${transport}: a balancer that speaks for itself is its own client`, async () => {
      for (const header of [binary(0, 0), binary(0, 0x11, Buffer.alloc(12)), binary(1, 0), Buffer.from('PROXY UNKNOWN\r\n')]) {
        const { wire, status } = await upgraded(gateway(), transport, header);
        assert.equal(status, 101);
        await logged(gateway(), 'open', `127.0.0.1:${wire.tcp.localPort}`);
        wire.destroy();
        await gateway().connections(0);
      }
    });

    test(`${transport}: whoever is not trusted is refused, header or not`, async () => {
      const refused = await failures(gateway(), 'proxy_header_untrusted');
      for (let i = 0; i < 30; i++) await silence(gateway(), transport, i % 2 ? line('192.0.2.1') : 'GET / HTTP/1.1\r\n\r\n', '127.0.0.9');
      assert.equal(await failures(gateway(), 'proxy_header_untrusted'), refused + 30);
      const lines = gateway().stderr.match(/event=proxy_header_refused listener=wss? from=127\.0\.0\.9:/g);
      assert.ok(lines.length >= 1 && lines.length < 30, `${lines.length} lines in the log`);
    });

    test(`${transport}: what is no header is refused`, async () => {
      const bad = ['GET /ws?topic=a HTTP/1.1\r\nHost: a\r\n\r\n', Buffer.from('160301020001000001fc0303', 'hex'), 'PROXY TCP4 192.0.2.1 127.0.0.1 1 2\n',
        'PROXY TCP4 192.0.2.256 127.0.0.1 1 2\r\n', Buffer.alloc(200, 'PROXY '), Buffer.concat([SIGNATURE, Buffer.from([0x21, 0x11, 0xff, 0xff])]),
        binary(1, 0x11, Buffer.alloc(8)), binary(1, 0x11, Buffer.concat([Buffer.alloc(12), Buffer.from([3, 0, 4, 1, 2, 3, 4])]))];
      const before = await failures(gateway(), 'proxy_header_malformed');
      for (const bytes of bad) await silence(gateway(), transport, bytes);
      assert.equal(await failures(gateway(), 'proxy_header_malformed'), before + bad.length);
      await until('the log says why, of ten a second at most', async () => {
        await silence(gateway(), transport, bad.at(-1));
        return /event=proxy_header_refused .*error="a PROXY header whose CRC-32C is wrong"/.test(gateway().stderr);
      });
    });
  }

  test('IPv6 clients count by their /64, mapped ones as IPv4', async t => {
    const wires = [];
    t.after(() => wires.forEach(wire => wire.destroy()));
    const status = async source => {
      const { wire, status: answer } = await upgraded(gateway(), 'ws', line(source));
      wires.push(wire);
      return answer;
    };
    assert.deepEqual([await status('2001:db8:0:1::1'), await status('2001:db8:0:1::2'), await status('2001:db8:0:1:ffff::3')], [101, 101, 429]);
    for (let network = 2; network < 20; network++) assert.equal(await status(`2001:db8:0:${network}::1`), 101);
    assert.deepEqual([await status('::ffff:192.0.2.7'), await status('192.0.2.7'), await status('::ffff:192.0.2.7')], [101, 101, 429]);
  });
});

test('a PROXY header that does not come in time', async t => {
  const gateway = await own(t, { 'listen.proxy_protocol': 'ws wss', 'listen.trusted': '127.0.0.1', 'limits.handshake_timeout': '300ms' });
  for (const transport of ['ws', 'wss']) for (const bytes of ['', 'PROXY TCP4', SIGNATURE]) await silence(gateway, transport, bytes);
  assert.equal(await failures(gateway, 'proxy_header_timeout'), 6);
  await until('the log says why', () => /no PROXY header within limits\.handshake_timeout/.test(gateway.stderr));
});

describe('a header says who the client is', () => {
  const gateway = shared({ before, after }, {
    'listen.forwarded': 'x-forwarded-for', 'listen.trusted': '127.0.0.1 10.0.0.0/8', 'log.level': 'debug', 'limits.connections_per_ip': 2,
    'access.deny': '127.0.0.7 203.0.113.0/24',
  });

  for (const transport of ['ws', 'wss']) {
    test(`${transport}: nginx in front; what the client wrote itself does not count`, async t => {
      const scheme = transport === 'wss' ? 'https' : 'http';
      const port = await nginx(t, gateway(), listen => `http { server { listen 127.0.0.1:${listen};
        location / { proxy_pass ${scheme}://127.0.0.1:${gateway()[transport]}; proxy_http_version 1.1; proxy_ssl_protocols TLSv1.3;
          proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; proxy_set_header Host $host;
          proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; } } }`);
      const connect = async from => {
        const tcp = net.connect({ host: '127.0.0.1', port, localAddress: from });
        await new Promise((resolve, reject) => tcp.once('connect', resolve).once('error', reject));
        const wire = new Wire(tcp);
        t.after(() => wire.destroy());
        return { wire, ...await wire.request('/ws?topic=news', upgradeHeaders(gateway(), transport, { 'X-Forwarded-For': '6.6.6.6, 10.0.0.1' })) };
      };
      const all = [await connect('127.0.0.5'), await connect('127.0.0.5'), await connect('127.0.0.5'), await connect('127.0.0.6'), await connect('127.0.0.7')];
      assert.deepEqual(all.map(({ status }) => status), [101, 101, 429, 101, 403]);
      await logged(gateway(), 'open', '127.0.0.5');
      await gateway().subscribed('news', 3);
      assert.equal(await gateway().probe.publish('news', 'hello'), 3);
      for (const i of [0, 1, 3]) assert.equal((await all[i].wire.frame()).text, 'hello');
      all.forEach(({ wire }) => wire.destroy());
      await gateway().connections(0);
      assert.doesNotMatch(gateway().stderr, /client=6\.6\.6\.6/);
    });
  }

  test('from whom is not trusted it is not looked at', async () => {
    const { wire, status } = await upgraded(gateway(), 'ws', Buffer.alloc(0), { from: '127.0.0.8', headers: { 'X-Forwarded-For': '192.0.2.1' } });
    assert.equal(status, 101);
    await logged(gateway(), 'open', `127.0.0.8:${wire.tcp.localPort}`);
    wire.destroy();
    await gateway().connections(0);
  });

  test('without the header, and with one that names nobody, the proxy is the client', async () => {
    for (const headers of [{}, { 'X-Forwarded-For': 'unknown' }, { Forwarded: 'for=192.0.2.1' }]) {
      const { wire, status } = await upgraded(gateway(), 'ws', Buffer.alloc(0), { headers });
      assert.equal(status, 101);
      await logged(gateway(), 'open', `127.0.0.1:${wire.tcp.localPort}`);
      wire.destroy();
      await gateway().connections(0);
    }
  });
});

test('PROXY header and Forwarded together: the edge behind the balancer is trusted, too', async t => {
  const gateway = await own(t, { 'listen.proxy_protocol': 'ws', 'listen.forwarded': 'forwarded', 'listen.trusted': '127.0.0.1 192.0.2.0/24', 'log.level': 'debug' });
  const how = { headers: { Forwarded: ['for=6.6.6.6', 'for="[2001:db8::9]:4711", for=192.0.2.200'] } };
  const edge = await upgraded(gateway, 'ws', ipv4('192.0.2.1'), how);
  await logged(gateway, 'open', '[2001:db8::9]:4711');
  const stranger = await upgraded(gateway, 'ws', ipv4('198.51.100.1'), how);
  await logged(gateway, 'open', '198.51.100.1:1000');
  for (const { wire, status } of [edge, stranger]) {
    assert.equal(status, 101);
    wire.destroy();
  }
});

test('hooks are told the client in X-Real-IP, whatever the client says there', async t => {
  const asked = [];
  const backend = http.createServer((request, response) => {
    asked.push(request.headers);
    request.resume().on('end', () => response.end('{"result":{"user":"ann"}}'));
  });
  await new Promise(resolve => backend.listen(0, '127.0.0.1', resolve));
  t.after(() => backend.close());
  const gateway = await own(t, {
    'proxy.connect': `http://127.0.0.1:${backend.address().port}/`, 'proxy.headers': 'X-Real-IP X-Request-Id', 'auth.anonymous': 'off',
    'listen.forwarded': 'x-forwarded-for', 'listen.trusted': '127.0.0.1',
  });
  for (const [from, forwarded, expected] of [['127.0.0.1', '2001:db8::7', '2001:db8::7'], ['127.0.0.9', '192.0.2.1', '127.0.0.9']]) {
    const wire = await behind(gateway, 'ws', Buffer.alloc(0), { from });
    wire.tcp.uncork();
    const headers = { 'X-Real-IP': '6.6.6.6', 'x-real-ip': '6.6.6.7', 'X-Request-Id': 'a', 'X-Forwarded-For': forwarded };
    assert.equal((await wire.request('/connection/websocket', upgradeHeaders(gateway, 'ws', headers))).status, 101);
    wire.write(frame(TEXT, '{"id":1,"connect":{}}'));
    assert.match((await wire.frame()).text, /"client":/);
    const { 'x-real-ip': real, 'x-request-id': id } = asked.pop();
    assert.deepEqual([real, id], [expected, 'a']);
    wire.destroy();
  }
});

describe('lists and rates without a balancer', () => {
  const once = (gateway, transport, from) => upgraded(gateway, transport, Buffer.alloc(0), { from })
    .then(({ wire, ...answer }) => { wire.destroy(); return answer; }, () => ({ status: 'closed' }));

  test('access.deny_file is read again on SIGHUP; a bad one changes nothing', async t => {
    const file = `/tmp/pushgate-networks-${process.pid}`;
    writeFileSync(file, '127.0.0.16/28 # a neighbour\n');
    const gateway = await own(t, { 'access.deny_file': file, 'access.allow': '127.0.0.0/8' });
    const statuses = async () => [(await once(gateway, 'ws', '127.0.0.17')).status, (await once(gateway, 'ws', '127.0.0.33')).status, (await once(gateway, 'wss', '127.0.0.17')).status];
    assert.deepEqual(await statuses(), [403, 101, 'closed']);
    assert.equal(await failures(gateway, 'access_denied'), 2);
    writeFileSync(file, '127.0.0.32/28\n');
    gateway.process.kill('SIGHUP');
    await until('the networks are read again', () => gateway.stderr.includes('event=networks_reloaded'));
    await until('they hold', async () => (await statuses()).join() === '101,403,101');
    writeFileSync(file, '127.0.0.33/28\n');
    gateway.process.kill('SIGHUP');
    await until('the bad file is told', () => /event=reload_failed error=.*127\.0\.0\.33\/28.* has bits behind its prefix/.test(gateway.stderr));
    assert.deepEqual(await statuses(), [101, 403, 101]);
  });

  test('limits.handshakes_per_ip: 429 with Retry-After over ws, closed before TLS over wss, counted by real address', async t => {
    const gateway = await own(t, { 'limits.handshakes_per_ip': 1, 'limits.handshakes_burst': 3, 'threads.acceptors': 2 });
    const answers = [];
    for (let i = 0; i < 8; i++) answers.push(await once(gateway, 'ws', '127.0.0.11'));
    assert.deepEqual(answers.slice(0, 3).map(({ status }) => status), [101, 101, 101]);
    const refused = answers.filter(({ status }) => status === 429);
    assert.ok(refused.length >= 8 - 3 - 2 * patience, `${refused.length} refused`);
    for (const { headers, body } of refused) {
      assert.equal(headers['retry-after'], '1');
      assert.match(body, /limits\.handshakes_per_ip/);
    }
    assert.equal((await once(gateway, 'ws', '127.0.0.12')).status, 101);
    const handshakes = await gateway.metric('pushgate_tls_handshakes_total');
    const closed = [];
    for (let i = 0; i < 12; i++) closed.push((await once(gateway, 'wss', '127.0.0.13')).status);
    const shaken = closed.filter(status => status === 101).length;
    assert.ok(shaken >= 3 && shaken < 12, closed.join());
    assert.ok(closed.every(status => status === 101 || status === 'closed'), closed.join());
    assert.equal(await gateway.metric('pushgate_tls_handshakes_total') - handshakes, shaken, 'who is refused costs no TLS handshake');
    assert.equal(await failures(gateway, 'per_ip_rate'), refused.length + 12 - shaken);
  });

  test('the rate counts the client that a proxy names', async t => {
    const gateway = await own(t, { 'limits.handshakes_per_ip': 1, 'limits.handshakes_burst': 2, 'listen.forwarded': 'x-forwarded-for', 'listen.trusted': '127.0.0.1' });
    const status = async client => {
      const { wire, status: answer } = await upgraded(gateway, 'ws', Buffer.alloc(0), { headers: { 'X-Forwarded-For': client } });
      wire.destroy();
      return answer;
    };
    for (let network = 0; network < 20; network++) assert.equal(await status(`2001:db8:0:${network}::1`), 101);
    const same = [];
    for (let host = 0; host < 8; host++) same.push(await status(`2001:db8:1:1::${host}`));
    assert.ok(same.includes(429) && same[0] === 101 && same[1] === 101, same.join());
  });
});
