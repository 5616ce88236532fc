// Operators on the publish socket, with the clients that they have (redis-cli, the redis package), and with pushgate ctl, which is built on hiredis.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { createClient } from 'redis';
import WebSocket from 'ws';
import { client, now, secret, token } from './lib/centrifuge.mjs';
import { list } from './lib/control.mjs';
import { binary, freePort, own, preset, until } from './lib/gateway.mjs';

/** Runs a program to its end. */
async function program(command, args, env = {}) {
  const { stdout, stderr, code } = await promisify(execFile)(command, args, { env: { ...process.env, ...env }, maxBuffer: 64 << 20, timeout: 60_000 })
    .then(result => ({ ...result, code: 0 }), error => error);
  return { out: stdout, err: stderr, code };
}
const oneThread = { skip: preset === 'tsan' && 'pushgate ctl has one thread' };
const redisCli = (gateway, ...words) => program('redis-cli', ['-p', gateway.publish, ...words]);
const ctl = (gateway, ...words) => program(binary, ['ctl', `--address=127.0.0.1:${gateway.publish}`, ...words]);
const ctlJson = async (gateway, ...words) => {
  const { out, err, code } = await ctl(gateway, '--json', ...words);
  assert.equal(code, 0, err);
  return JSON.parse(out);
};

/** The redis package's client; the gateway may end before it does. */
async function backend(t, options) {
  const redis = await createClient(options).on('error', () => {}).connect();
  t.after(() => redis.destroy());
  return redis;
}

/** A raw WebSocket that is open. */
async function raw(t, gateway, query, transport = 'ws') {
  const socket = new WebSocket(`${transport}://127.0.0.1:${gateway[transport]}/ws?${query}`, { ca: gateway.certificate.pem });
  t.after(() => socket.terminate());
  socket.closed = new Promise(resolve => socket.once('close', (code, reason) => resolve({ code, reason: String(reason) })));
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  return socket;
}

test('one connection is inspected, closed with code and reason, and then is no more', async t => {
  const gateway = await own(t, { 'log.level': 'debug' });
  const socket = await raw(t, gateway, 'topic=news&topic=chat', 'wss');
  const publisher = await gateway.publisher();
  const { found } = await list(publisher, ['TOPIC', 'news']);
  assert.equal(found.length, 1);
  const [{ id, address, adapter, transport, suite, state, subscriptions }] = found;
  assert.deepEqual({ adapter, transport, suite, state, subscriptions },
    { adapter: 'raw', transport: 'wss', suite: 'TLS_AES_128_GCM_SHA256', state: 'open', subscriptions: 2 });
  assert.equal(address, `127.0.0.1:${socket._socket.localPort}`);
  const redis = await backend(t, { url: `redis://127.0.0.1:${gateway.publish}`, RESP: 3 });
  const info = await redis.sendCommand(['CONNECTION', 'INFO', id]);
  assert.equal(info.id, id);
  assert.deepEqual([...info.topics].sort(), ['chat', 'news']);
  assert.ok(info['rtt-us'] > 0 && info.age >= 0 && info.queued === 0);
  assert.equal(await redis.sendCommand(['CONNECTION', 'CLOSE', 'ID', id, 'CODE', '4100', 'REASON', 'grüße']), 1);
  assert.deepEqual(await socket.closed, { code: 4100, reason: 'grüße' });
  await until('it has gone', async () => (await publisher.command('CONNECTION', 'INFO', id)) instanceof Error);
  assert.equal((await publisher.command('CONNECTION', 'INFO', id)).message, 'ERR No such connection');
  assert.equal(await publisher.command('CONNECTION', 'CLOSE', 'ID', id), 0);
  await until('the log says so', () => gateway.stderr.includes(`event=close reason=operator conn=${id} `));
  assert.ok(gateway.stderr.includes(`event=open adapter=raw transport=wss conn=${id} client=${address}`));
  const next = await raw(t, gateway, 'topic=news'); // perhaps in its slot
  const [{ id: another }] = (await list(publisher)).found;
  assert.notEqual(another, id);
  assert.equal((await publisher.command('CONNECTION', 'INFO', id)).message, 'ERR No such connection');
  next.close();
});

test("users of the SDK are listed and closed by user and by client id; tokens are nowhere", async t => {
  const gateway = await own(t, { 'auth.hmac_secret': secret, 'log.level': 'debug', 'publish.password': 'a password of operators' },
    { topics: { 'chat:*': { presence: 'on' } } });
  const tokens = await Promise.all(['ann', 'bob'].map(sub => token({ sub, exp: now() + 600, info: { name: sub } })));
  const anns = [client(t, gateway.ws, { token: tokens[0] }), client(t, gateway.ws, { token: tokens[0] })], bob = client(t, gateway.ws, { token: tokens[1] });
  for (const sdk of [...anns, bob]) {
    sdk.connect();
    await sdk.ready(10000);
  }
  await raw(t, gateway, `topic=news&token=${tokens[1]}`);
  const redis = await backend(t, { url: `redis://:a%20password%20of%20operators@127.0.0.1:${gateway.publish}` });
  const publisher = { command: (...words) => redis.sendCommand(words.map(String)) };
  assert.equal((await list(publisher)).found.length, 4);
  const { found } = await list(publisher, ['USER', 'ann']);
  assert.deepEqual(found.map(({ user }) => user), ['ann', 'ann']);
  assert.deepEqual(found.map(({ client: id }) => id).sort(), (await Promise.all(anns.map(sdk => sdk.log.all('connected')[0].client))).sort());
  assert.deepEqual((await list(publisher, ['USER', ''])).found, []);
  const one = await list(publisher, ['USER', 'ann', 'CLIENT', anns[1].log.all('connected')[0].client]);
  assert.equal(one.found.length, 1);
  const everything = JSON.stringify([
    await Promise.all(found.map(({ id }) => redis.sendCommand(['CONNECTION', 'INFO', id]))), (await list(publisher)).found,
    await redis.sendCommand(['CONFIG', 'GET', '*']), await redis.sendCommand(['INFO']), await redis.sendCommand(['METRICS']), gateway.stderr]);
  assert.match(everything, /\\"name\\":\\"ann\\"/);
  for (const hidden of [...tokens, secret, 'a password of operators']) assert.ok(!everything.includes(hidden));

  assert.equal(await redis.sendCommand(['CONNECTION', 'CLOSE', 'ID', one.found[0].id, 'CODE', '3011', 'REASON', 'again']), 1); // SDKs come back
  await anns[1].log.next('connected');
  await anns[1].log.next('connected');
  assert.equal(await redis.sendCommand(['CONNECTION', 'CLOSE', 'USER', 'ann']), 2);
  for (const ann of anns) assert.deepEqual(await ann.log.next('disconnected'), { code: 3503, reason: 'force disconnect' });
  assert.equal(bob.state, 'connected');
});

test('redis-cli: lists, help, errors, the log level, topics, a drain', async t => {
  const gateway = await own(t, { 'drain.timeout': '5s' });
  const socket = await raw(t, gateway, 'topic=news');
  assert.match((await redisCli(gateway, 'CONNECTION', 'LIST', 'TOPIC', 'news')).out, /^0\nid\n\d+-0-0\naddress\n127\.0\.0\.1:\d+\n/);
  assert.match((await redisCli(gateway, 'CONNECTION', 'HELP')).out, /^CONNECTION <subcommand> /);
  assert.equal((await redisCli(gateway, 'CONNECTION', 'INFO', '0-0-99')).out.trim(), 'ERR No such connection');
  assert.equal((await redisCli(gateway, 'TOPIC', 'LIST')).out, '0\nnews\n1\n');
  assert.equal((await redisCli(gateway, 'CONFIG', 'SET', 'log.level', 'warn')).out, 'OK\n');
  assert.equal((await redisCli(gateway, 'CONFIG', 'GET', 'log.level')).out, 'log.level\nwarn\n');
  assert.equal((await redisCli(gateway, 'CONFIG', 'SET', 'log.level', 'error')).out, 'OK\n');
  assert.equal((await redisCli(gateway, 'CONFIG', 'SET', 'log.level', 'warn')).out, 'OK\n');
  const changes = [...gateway.stderr.matchAll(/level=warn event=operator_asked for=log_level was=(\w+) is=(\w+) publisher=\d+ from=127\.0\.0\.1:\d+\n/g)];
  assert.deepEqual(changes.map(([, was, is]) => `${was} ${is}`), ['info warn', 'warn error', 'error warn'], 'whatever the level');
  const metrics = (await redisCli(gateway, 'METRICS')).out;
  assert.match(metrics, /^pushgate_connections\{adapter="raw",transport="ws"\} 1$/m);
  for (const name of (await gateway.metrics()).keys())
    if (!/_(api|admin)_/.test(name)) assert.ok(metrics.includes(`\n${name} `), `${name} is in METRICS, too`);
  assert.match((await redisCli(gateway, 'INFO', 'connections')).out, /^connections_raw_ws:1\r?$/m);
  assert.equal((await redisCli(gateway, 'SHUTDOWN', 'NOSAVE')).code, 0);
  assert.equal((await socket.closed).code, 1001);
  assert.deepEqual(await gateway.ended, { code: 0, signal: null });
  assert.match(gateway.stderr, /event=operator_asked for=drain publisher=\d+ from=127\.0\.0\.1:\d+\n/);
});

test('who closed connections is in the log: every order that closed many, whatever else was', async t => {
  const gateway = await own(t, { 'listen.publish': 'unix:publish.sock' });
  const publisher = await gateway.publisher(gateway.unix);
  const many = await Promise.all(Array.from({ length: 150 }, () => raw(t, gateway, 'topic=many')));
  const few = await Promise.all(Array.from({ length: 40 }, (_, n) => raw(t, gateway, `topic=few&topic=few${n}`)));
  assert.deepEqual(await Promise.all(few.map((_, n) => publisher.command('CONNECTION', 'CLOSE', 'TOPIC', `few${n}`))), few.map(() => 1));
  assert.equal(await publisher.command('CONNECTION', 'CLOSE', 'TOPIC', 'many', 'CODE', '4000'), 150);
  assert.equal(await publisher.command('CONNECTION', 'CLOSE', 'TOPIC', 'nobody'), 0);
  await Promise.all([...many, ...few].map(({ closed }) => closed));
  const lines = () => gateway.stderr.match(/.*event=operator_asked .*\n/g) ?? [];
  await until('the log has it', () => lines().some(line => line.includes('which=topic=many') || line.includes('which="topic=many"')));
  const from = `publisher=\\d+ from="unix uid=${process.getuid()} pid=${process.pid}"`;
  assert.match(lines()[0], new RegExp(`level=warn event=operator_asked for=close which="topic=few0" closed=1 ${from}`));
  assert.match(lines().at(-1), new RegExp(`which="topic=many" closed=150 ${from}`));
  assert.ok(lines().length >= 11 && lines().length < 42, `${lines().length} lines`);
  assert.ok(!gateway.stderr.includes('topic=nobody'), 'nothing was done');
});

test('which users backends disconnected, and who did, is in the log', async t => {
  const gateway = await own(t, { 'api.insecure': 'on', 'auth.hmac_secret': secret });
  const sdks = await Promise.all(['ann', 'bob'].map(async sub => {
    const sdk = client(t, gateway.ws, { token: await token({ sub, exp: now() + 600 }) });
    sdk.connect();
    await sdk.ready(10000);
    return sdk;
  }));
  const publisher = await gateway.publisher();
  assert.equal(await publisher.command('USER', 'DISCONNECT', 'ann'), 'OK');
  const answer = await gateway.get('/api/disconnect', { method: 'POST', body: JSON.stringify({ user: 'bob', client: (await sdks[1].log.next('connected')).client }) });
  assert.deepEqual(await answer.json(), { result: {} });
  for (const sdk of sdks) assert.equal((await sdk.log.next('disconnected')).code, 3503);
  assert.equal(await publisher.command('USER', 'SUBSCRIBE', 'ann', 'news'), 'OK');
  await gateway.get('/api/refresh', { method: 'POST', body: JSON.stringify({ user: 'eve', expired: true }) });
  await gateway.get('/api/refresh', { method: 'POST', body: JSON.stringify({ user: 'zoe', expire_at: now() + 60 }) });
  const lines = () => gateway.stderr.match(/event=disconnect_asked .*/g) ?? [];
  await until('the log has three', () => lines().length === 3);
  assert.match(lines()[0], /^event=disconnect_asked user=ann client="" by=publisher from=127\.0\.0\.1:\d+$/);
  assert.match(lines()[1], /^event=disconnect_asked user=bob client=[0-9a-f-]{36} by=api from=127\.0\.0\.1:\d+$/);
  assert.match(lines()[2], /^event=disconnect_asked user=eve client="" by=api from=127\.0\.0\.1:\d+$/);
});

test('pushgate ctl: tables, JSON, exit statuses', oneThread, async t => {
  const gateway = await own(t);
  const sockets = await Promise.all([1, 2, 3].map(n => raw(t, gateway, `topic=news&topic=t${n}`)));
  const table = await ctl(gateway, 'connections', '--topic=news');
  const rows = table.out.trimEnd().split('\n');
  assert.equal(rows.length, 4);
  assert.match(rows[0], /^ID +ADDRESS +ADAPTER +TRANSPORT +STATE +USER +CLIENT +AGE +IDLE +QUEUED +TOPICS$/);
  for (const row of rows) assert.equal(row.length, rows[0].length, 'columns are aligned'); // the last is a number, which stands right
  const listed = await ctlJson(gateway, 'connections');
  assert.equal(listed.length, 3);
  const limited = await ctl(gateway, 'connections', '--limit', '2');
  assert.equal(limited.out.trimEnd().split('\n').length, 3);
  assert.match(limited.err, /--limit=0 shows all/);
  assert.deepEqual(await ctlJson(gateway, 'connections', '--topic=nobody'), []);
  const one = await ctlJson(gateway, 'connection', listed[0].id);
  assert.equal(one.id, listed[0].id);
  assert.equal(one.topics.length, 2);
  assert.match((await ctl(gateway, 'connection', listed[0].id)).out, /^topics +news, t\d$/m);
  assert.deepEqual((await ctlJson(gateway, 'topics', '--limit=1')), [{ topic: 'news', subscribers: 3 }]);
  assert.equal((await ctlJson(gateway, 'topic', 'news')).subscribers, 3);
  assert.deepEqual(await ctlJson(gateway, 'counters', 'pushgate_opened_total'), [{ name: 'pushgate_opened_total', value: 3 }]);
  assert.equal((await ctlJson(gateway, 'info', 'connections')).Connections.connections, 3);
  assert.equal((await ctlJson(gateway, 'config', 'log.level'))['log.level'], 'info');
  assert.equal((await ctl(gateway, 'log-level', 'debug')).out, 'OK\n');
  assert.equal((await ctl(gateway, 'log-level')).out, 'debug\n');
  assert.equal((await ctl(gateway, 'command', 'echo', '--json')).out, '--json\n');
  assert.equal((await ctl(gateway, 'command', 'echo', '\u001b]0;x\u0007 \u009b1m é')).out, '\\x1b]0;x\\x07 \\x9b1m é\n', 'nothing that a terminal would obey');
  assert.equal((await ctl(gateway, '--raw', 'command', 'echo', '\u001b[1m')).out, '\u001b[1m\n');
  assert.equal((await ctl(gateway, '--raw', 'connections', '--id', listed[0].id)).out.split('\n')[1], listed[0].id);
  assert.deepEqual(await ctlJson(gateway, 'close', '--topic', 't2', '--code=4000', '--reason', 'bye'), { closed: 1 });
  assert.deepEqual(await sockets[1].closed, { code: 4000, reason: 'bye' });
  assert.equal((await ctl(gateway, 'close', '--user', 'nobody')).out, 'closed 0 connections\n');
  for (const [words, code, error] of [
    [['connection', '0-0-999'], 1, /No such connection/], [['connection', 'x'], 1, /invalid connection id/], [['log-level', 'loud'], 1, /not one of error/],
    [['close'], 2, /close which\?/], [['nothing'], 2, /nothing: unknown subcommand/], [['info', '--what'], 2, /--what: unknown option/],
    [[], 2, /connections, topics/], [['connection'], 2, /missing/], [['drain', 'now'], 2, /now is too much/], [['topics', '--limit', 'x'], 2, /no number/],
  ]) {
    const result = await ctl(gateway, ...words);
    assert.equal(result.code, code, words.join(' '));
    assert.match(result.err, error);
    assert.equal(result.out, '');
  }
  const help = await program(binary, ['ctl', '--help']);
  assert.equal(help.code, 0);
  for (const word of ['connections', 'counters', 'drain', '--json', 'PUSHGATE_PASSWORD']) assert.ok(help.out.includes(word));
  const nobody = await program(binary, ['ctl', `--address=127.0.0.1:${await freePort()}`, 'info']);
  assert.equal(nobody.code, 1);
  assert.match(nobody.err, /nothing listens at 127\.0\.0\.1:\d+: is the gateway running, and is listen\.publish set\?/);
});

test('pushgate ctl finds the gateway and its password in the configuration, and never takes one as an argument', oneThread, async t => {
  const gateway = await own(t, { 'publish.password': 'hunter2hunter2' });
  const config = join(gateway.folder, 'ctl.conf'), bare = join(gateway.folder, 'bare.conf'), file = join(gateway.folder, 'password'), off = join(gateway.folder, 'off.conf');
  writeFileSync(config, `[listen]\npublish = 127.0.0.1:${gateway.publish}\n[publish]\npassword = hunter2hunter2\n`);
  writeFileSync(bare, `[listen]\npublish = *:${gateway.publish}\n`);
  writeFileSync(off, '[listen]\nws = 127.0.0.1:1\n');
  writeFileSync(file, 'hunter2hunter2\n');
  const info = ['info', 'server'], ask = (args, env) => program(binary, ['ctl', ...args], env);
  for (const [args, env] of [[['--config', config]], [['--config', bare, '--password-file', file]], [['--config', bare], { PUSHGATE_PASSWORD: 'hunter2hunter2' }]]) {
    const { code, out, err } = await ask([...args, ...info], env);
    assert.equal(code, 0, err);
    assert.match(out, /^phase +running$/m);
  }
  for (const [args, env, error] of [
    [['--config', bare], {}, /wants a password: set PUSHGATE_PASSWORD/], [['--config', config], { PUSHGATE_PASSWORD: 'wrong' }, /refuses the password/],
    [['--config', off], {}, /listen\.publish is not set/], [['--config', join(gateway.folder, 'none')], {}, /No such file/],
  ]) {
    const { code, err } = await ask([...args, ...info], env);
    assert.equal(code, 1);
    assert.match(err, error);
    assert.ok(!err.includes('hunter2'));
  }
  assert.equal((await ask(['--password=x', ...info])).code, 2);
});

test('pushgate ctl over a unix socket: drain --wait returns when the gateway has ended', async t => {
  const gateway = await own(t, { 'drain.timeout': '10s', 'listen.publish': 'unix:publish.sock' });
  const ask = (...words) => program(binary, ['ctl', `--address=unix:${gateway.unix}`, ...words]);
  const socket = await raw(t, gateway, 'topic=news');
  assert.equal(JSON.parse((await ask('--json', 'drain', '--status')).out).phase, 'running');
  const { out, code } = await ask('drain', '--wait');
  assert.equal(code, 0);
  assert.match(out, /has ended/);
  assert.equal((await socket.closed).code, 1001);
  assert.deepEqual(await gateway.ended, { code: 0, signal: null });
});

test("from elsewhere operators' commands are refused unless publish.control says all", async t => {
  const outside = Object.values(networkInterfaces()).flat().find(({ family, internal }) => family === 'IPv4' && !internal)?.address;
  if (!outside) return t.skip('this machine has loopback only');
  for (const control of ['local', 'all']) {
    const gateway = await own(t, { 'publish.password': 'a long password here', 'publish.control': control, 'listen.publish': `0.0.0.0:${await freePort()}` });
    const port = /listener=publish address=\S+:(\d+)/.exec(gateway.stderr)[1];
    const from = host => program('redis-cli', ['-h', host, '-p', port, '--no-auth-warning', '-a', 'a long password here', 'CONNECTION', 'LIST']);
    assert.equal((await from('127.0.0.1')).out.trim(), '0');
    if (control === 'all') assert.equal((await from(outside)).out.trim(), '0');
    else assert.match((await from(outside)).out, /^NOPERM .*publish\.control = local/);
  }
});
