// No secret leaves the gateway: each is put wherever a client, a backend or an operator can put it, right or wrong, and then looked for in
// everything that the gateway says at its most talkative.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { SignJWT } from 'jose';
import WebSocket from 'ws';
import { binary, own, until } from './lib/gateway.mjs';

let folder;
before(() => { folder = mkdtempSync(join(tmpdir(), 'pushgate-secrets-')); });
after(() => rmSync(folder, { recursive: true, force: true }));

/** Every secret so far, by the place that it was put in. */
class Secrets {
  places = new Map();
  /** A new one for `place`, of letters and digits. */
  make(place) {
    const secret = `s3cr3t${this.places.size}x${Buffer.from(place).toString('hex').slice(0, 40).padEnd(40, '0')}`;
    this.places.set(place, secret);
    return secret;
  }
  /** A token for `place`, signed with `key`: neither it nor its signature may show. */
  async token(place, key, claims = {}) {
    const token = await new SignJWT({ sub: 'ann', ...claims }).setProtectedHeader({ alg: 'HS256' }).setExpirationTime('1h').sign(new TextEncoder().encode(key));
    this.places.set(place, token.split('.')[2]);
    return token;
  }
  /** Where in `outputs` ({ name: text }) one of them stands. */
  found(outputs) {
    const found = [];
    for (const [place, secret] of this.places)
      for (const [name, text] of Object.entries(outputs)) {
        assert.equal(typeof text, 'string', name);
        for (const form of [secret, Buffer.from(secret).toString('base64').slice(0, 40)])
          if (text.includes(form)) found.push(`${place} in ${name}: ${text.slice(Math.max(0, text.indexOf(form) - 80), text.indexOf(form) + 20)}`);
      }
    return found;
  }
}

/** One request over a socket of its own, as raw bytes; the whole answer. */
function raw(port, bytes) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(bytes));
    let answer = '';
    socket.setTimeout(3000, () => socket.destroy());
    socket.on('data', data => { answer += data.toString('latin1'); if (/^HTTP\/1\.1 101/.test(answer)) socket.destroy(); });
    socket.on('close', () => resolve(answer)).on('error', error => (error.code === 'ECONNRESET' ? resolve(answer) : reject(error)));
  });
}
const upgrade = (target, headers = {}) => `GET ${target} HTTP/1.1\r\n` + Object.entries({ Host: 'localhost', Upgrade: 'websocket', Connection: 'Upgrade',
  'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Version': '13', ...headers }).map(([name, value]) => `${name}: ${value}\r\n`).join('') + '\r\n';

/** Says `commands` on /connection/websocket, one after the other, and returns all that came. */
async function converse(port, commands, headers = {}) {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/connection/websocket`, { headers });
  let heard = '';
  socket.on('message', data => { heard += data; });
  await once(socket, 'open');
  for (const [i, command] of commands.entries()) socket.send(JSON.stringify({ id: i + 1, ...command }));
  const closed = once(socket, 'close');
  await until('all is answered', () => commands.every((_, i) => heard.includes(`"id":${i + 1}`)) || socket.readyState === WebSocket.CLOSED);
  socket.close(4001, 's3cr3treason');
  const [code, reason] = await closed;
  return `${heard}\n${code} ${reason}`;
}

test('whatever clients, backends and operators put in, right or wrong, no secret is in any output', async t => {
  const secrets = new Secrets();
  const at = { password: secrets.make('publish.password'), admin: secrets.make('admin.password'), key: secrets.make('api.key'),
    hmac: secrets.make('auth.hmac_secret'), reason: 's3cr3treason' };
  secrets.places.set('close reason', at.reason);
  // A backend that refuses, and says something that only it should know.
  const backend = http.createServer((request, response) => { request.resume(); response.statusCode = 500; response.end(secrets.make('answer of a hook')); });
  await new Promise(resolve => backend.listen(0, '127.0.0.1', resolve));
  t.after(() => backend.close());
  const gateway = await own(t, { 'log.level': 'debug', 'log.access': 1, 'auth.anonymous': 'on', 'auth.cookie': 'session', 'publish.password': at.password,
    'admin.password': at.admin, 'api.key': at.key, 'auth.hmac_secret': at.hmac, 'proxy.rpc': `http://127.0.0.1:${backend.address().port}/rpc?key=${secrets.make('query of a hook URL')}`,
    'proxy.headers': 'Cookie Authorization' }, { topics: { 'staff:*': { subscribe: 'token' } } });
  const said = {};

  // Clients, before they are connected.
  const wrong = place => secrets.token(place, 'not the key of this gateway, by any means');
  for (const [target, headers] of [
    [`/ws?topic=a&token=${await wrong('?token=')}`],
    [`/ws?topic=a&token=${secrets.make('no token in ?token=')}`],
    [`/ws?topic=a&access_token=${secrets.make('another query')}`],
    [`/ws?tpoic=${secrets.make('query without a topic')}`],
    [`/nowhere/${secrets.make('path')}`],
    [`/ws?topic=a`, { Authorization: `Bearer ${await wrong('Authorization')}` }],
    [`/ws?topic=a`, { Authorization: `Basic ${Buffer.from(`user:${secrets.make('Basic')}`).toString('base64')}` }],
    [`/ws?topic=a`, { Cookie: `a=${secrets.make('another cookie')}; session=${await wrong('cookie')}` }],
    [`/ws?topic=a`, { 'X-Api-Key': secrets.make('header') }],
    [`/ws?topic=a`, { 'Sec-WebSocket-Protocol': secrets.make('subprotocol') }],
    [`/ws?topic=a`, { Origin: `https://${secrets.make('origin')}.example` }],
    [`/ws?topic=a`, { 'Sec-WebSocket-Version': secrets.make('version') }],
    [`/ws?topic=a`, { Authorization: `Bearer ${await secrets.token('a good token', at.hmac)}` }],
    [`/connection/websocket`, { Cookie: `session=${await wrong('cookie of a conversation')}` }],
  ]) said[`answer to ${target} ${JSON.stringify(headers ?? {})}`.slice(0, 30)] = await raw(gateway.ws, upgrade(target, headers));
  said['bad request'] = await raw(gateway.ws, `GET /ws?token=${secrets.make('request line')} HTTP/9.9\r\n\r\n`);
  said['no HTTP'] = await raw(gateway.ws, `${secrets.make('no HTTP')}\r\n\r\n`);
  said['long header'] = await raw(gateway.ws, `GET /ws?topic=a HTTP/1.1\r\nHost: a\r\nCookie: ${secrets.make('long header')}${'x'.repeat(20000)}\r\n\r\n`);
  said['HTTP on wss'] = await raw(gateway.wss, upgrade(`/ws?topic=a&token=${secrets.make('HTTP on wss')}`));

  // Clients in a conversation.
  said.conversation = await converse(gateway.ws, [
    { connect: { token: await secrets.token('connect token', at.hmac), name: 'app', data: { password: secrets.make('connect data') } } },
    { subscribe: { channel: 'staff:1', token: await wrong('subscription token') } },
    { subscribe: { channel: 'staff:2', token: secrets.make('no subscription token') } },
    { subscribe: { channel: 'staff:3', token: await secrets.token('good subscription token', at.hmac, { channel: 'staff:3' }) } },
    { publish: { channel: 'news', data: { password: secrets.make('publication') } } },
    { rpc: { method: 'login', data: { password: secrets.make('rpc') } } },
    { refresh: { token: await wrong('refresh token') } },
  ], { Cookie: `other=${secrets.make('cookie for a hook')}` });
  said.refused = await converse(gateway.ws, [{ connect: { token: await wrong('bad connect token') } }]);
  const messy = new WebSocket(`ws://127.0.0.1:${gateway.ws}/connection/websocket`);
  await once(messy, 'open');
  messy.send(`{"connect":{"token":"${secrets.make('broken JSON')}`);
  const [code, reason] = await once(messy, 'close');
  said.messy = `${code} ${reason}`;

  // Backends.
  const publisher = await gateway.publisher();
  const hear = async (...words) => JSON.stringify(await publisher.command(...words), (_, value) => value instanceof Error ? value.message : value);
  said.auth = [await hear('AUTH', secrets.make('wrong AUTH')), await hear('AUTH', 'default', secrets.make('wrong AUTH of a user')), await hear('AUTH', 'ann', at.password),
    await hear('AUTH', 'a', 'b', secrets.make('AUTH with too much')), await hear('HELLO', '3', 'AUTH', 'default', secrets.make('wrong HELLO')),
    await hear('HELLO', '9', 'AUTH', 'default', at.password), await hear('AUTH', at.password)].join('\n');
  publisher.write(`AUTH ${secrets.make('inline AUTH')}\r\n`);
  said.inline = String(await publisher.answer());
  said.commands = [await hear('AUTH', at.password), await hear('PUBLISH', 'news', secrets.make('published')), await hear('INFO'), await hear('CONFIG', 'GET', '*'),
    await hear('CONFIG', 'GET', 'publish.password'), await hear('CONFIG', 'SET', 'publish.password', secrets.make('CONFIG SET')), await hear('CLIENT', 'LIST'),
    await hear('CONNECTIONS'), await hear('COMMAND')].join('\n');
  publisher.write(`*2\r\n$4\r\nAUTH\r\n$x\r\n${secrets.make('broken RESP')}\r\n`);
  said['broken RESP'] = await publisher.answer().then(String, String);
  const admin = `http://127.0.0.1:${gateway.admin}`;
  for (const [path, headers, body] of [
    ['/api/info', { 'X-API-Key': secrets.make('wrong key') }, '{}'],
    ['/api/info', { Authorization: `apikey ${secrets.make('wrong apikey')}` }, '{}'],
    [`/api/info?api_key=${secrets.make('key in the query')}`, {}, '{}'],
    ['/api/info', { 'X-API-Key': at.key }, '{}'],
    ['/api/publish', { 'X-API-Key': at.key }, `{"channel":"${secrets.make('broken request')}`],
    ['/publish?topic=news', { Authorization: `Bearer ${secrets.make('wrong password of /publish')}` }, 'x'],
    ['/publish?topic=news', { Authorization: `Bearer ${at.password}` }, 'x'],
    ['/metrics', { Authorization: `Bearer ${secrets.make('wrong admin password')}` }],
    ['/metrics', { Authorization: `Basic ${Buffer.from(`ann:${secrets.make('wrong Basic')}`).toString('base64')}` }],
    ['/metrics', { Authorization: `Bearer ${at.admin}` }],
    ['/status', { Authorization: `Bearer ${at.admin}` }],
    ['/status.json', { Authorization: `Bearer ${at.admin}` }],
  ]) said[`${path.slice(0, 12)} ${Object.keys(said).length}`] = await (await fetch(admin + path, { headers, ...(body ? { method: 'POST', body } : {}) })).text();
  assert.match(said.commands, /log\.level/, 'CONFIG GET answered');

  // At a reload and at the end.
  gateway.process.kill('SIGHUP');
  await until('it has reloaded', () => /event=reloaded/.test(gateway.stderr));
  const ended = gateway.stderr.length;
  assert.ok(ended > 2000, 'it was talkative');
  assert.match(gateway.stderr, /event=access /);
  assert.match(gateway.stderr, /level=debug /);
  // What the rest of the answer to a client's own data may hold is its own: publications come back to subscribers only.
  assert.deepEqual(secrets.found({ ...said, log: gateway.stderr }), []);
});

test('no secret of a configuration is in what is said of its errors, by --check or at start', () => {
  const secrets = new Secrets();
  const good = '[listen]\nws = 127.0.0.1:0\n[auth]\nanonymous = on\n';
  const long = place => secrets.make(place).padEnd(70, 'y');
  for (const [text, ...args] of [
    [`${good}hmac_secret = s3short${''}\n`],
    [`${good}hmac_secret = ${long('good secret')}\n`],
    [`${good}hmac_secert = ${long('mistyped key')}\n`],
    [`${good}hmac_secret ${long('no equals sign')}\n`],
    [`${good}hmac_secret = "${long('quoted')}\n`],
    [`${good}[publish]\npassword = ${secrets.make('given twice')}\npassword = ${secrets.make('given twice again')}\n`],
    [`${good}[api]\nkey = ${secrets.make('contradiction')}\ninsecure = on\n[admin]\npassword = ${secrets.make('admin')}\n`],
    [`${good}[api]\nkey_file = /nonexistent\nkey = ${secrets.make('file and value')}\n`],
    [`[publish\npassword = ${secrets.make('broken section')}\n`],
    [`password = ${secrets.make('no section')}\n`],
    [`${good}[proxy]\nconnect = http://user:${secrets.make('hook URL')}@127.0.0.1/\n`],
    [good, `--publish.password=${secrets.make('argument')}`, '--limits.message_bytes=x'],
    [good, `--publish.pasword=${secrets.make('mistyped argument')}`],
    [good, `--publish-password=${secrets.make('argument of no section')}`],
  ]) {
    const config = join(folder, 'bad.conf');
    writeFileSync(config, text);
    for (const check of [['--check'], ['--listen.backlog=0']]) { // the latter fails the start
      const { stdout, stderr } = spawnSync(binary, [...check, `--config=${config}`, ...args], { encoding: 'utf8', timeout: 20000 });
      assert.deepEqual(secrets.found({ [`${check} of ${text}`]: stdout + stderr }), []);
      assert.ok(!`${stdout}${stderr}`.includes('s3short'));
    }
  }
});
