// What the process may do: whom it becomes, what it keeps, and who may connect to its unix sockets.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import WebSocket from 'ws';
import { Gateway, own, until } from './lib/gateway.mjs';

const root = process.getuid() === 0;
const nobody = { uid: Number(execFileSync('id', ['-u', 'nobody'])), gid: Number(execFileSync('id', ['-g', 'nobody'])) };
const capabilities = ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'];

/** What /proc says of each thread: [{ Name, Uid: [4 ids], Groups, CapEff, NoNewPrivs, … }]. */
function threads(pid) {
  return readdirSync(`/proc/${pid}/task`).map(thread => Object.fromEntries(readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8')
    .split('\n').map(line => line.split(':\t')).map(([key, value]) => [key, value?.trim() ?? ''])));
}

function assertUnprivileged(pid, user, { bounding = true } = {}) {
  const all = threads(pid);
  assert.ok(all.length >= 6, 'main, two acceptors, two reactors, publisher, admin');
  for (const thread of all) {
    assert.deepEqual(thread.Uid.split('\t').map(Number), Array(4).fill(user.uid), thread.Name);
    assert.deepEqual(thread.Gid.split('\t').map(Number), Array(4).fill(user.gid), thread.Name);
    assert.equal(thread.Groups, '', thread.Name);
    for (const set of capabilities) if (bounding || set !== 'CapBnd') assert.equal(parseInt(thread[set], 16), 0, `${thread.Name}: ${set}`);
    assert.equal(thread.NoNewPrivs, '1', thread.Name);
  }
}

/** The folder of a gateway that is not root must let it in. */
async function asNobody(t, settings = {}, options) {
  return own(t, { 'process.user': 'nobody', ...settings }, options);
}

let folder;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'pushgate-sockets-'));
  chmodSync(folder, 0o755);
});
after(() => rmSync(folder, { recursive: true, force: true }));

test('started as root, it becomes process.user in every thread, without groups, capabilities or a way back', { skip: !root }, async t => {
  const gateway = await asNobody(t);
  assertUnprivileged(gateway.pid, nobody);
  assert.match(gateway.stderr, /event=privileges_dropped user=\d+ group=\d+/);
  assert.doesNotMatch(gateway.stderr, /running_as_root/);
  const socket = new WebSocket(`ws://127.0.0.1:${gateway.ws}/ws?topic=news`);
  await once(socket, 'open');
  const message = once(socket, 'message');
  assert.equal(await (await gateway.publisher()).command('PUBLISH', 'news', 'hello'), 1);
  assert.equal(String((await message)[0]), 'hello');
  socket.terminate();
});

test('becoming another user changes nothing about core dumps', { skip: !root }, async t => {
  const soft = pid => /Max core file size\s+(\S+)/.exec(readFileSync(`/proc/${pid}/limits`, 'utf8'))[1];
  const off = await asNobody(t, { 'debug.core_dumps': 'off' }, { wrap: ['prlimit', '--core=1000000:1000000'] });
  assert.equal(statSync(`/proc/${off.pid}/environ`).uid, 0, 'not dumpable: root owns its entries in /proc (proc(5))');
  assert.equal(soft(off.pid), '0');
  const on = await asNobody(t, { 'debug.core_dumps': 'on' }, { wrap: ['prlimit', '--core=1000000:1000000'] });
  assert.equal(statSync(`/proc/${on.pid}/environ`).uid, nobody.uid);
  assert.equal(soft(on.pid), '1000000');
});

test('started as root without process.user, it stays root and says so once', { skip: !root }, async t => {
  const gateway = await own(t);
  assert.equal(gateway.stderr.match(/level=warn event=running_as_root advice=/g)?.length, 1);
  for (const thread of threads(gateway.pid)) assert.equal(thread.NoNewPrivs, '1');
});

test('root by name is no news', { skip: !root }, async t => {
  assert.doesNotMatch((await own(t, { 'process.user': 'root' })).stderr, /running_as_root/);
});

test('started unprivileged with a capability, it binds and gives the capability up', { skip: !root }, async t => {
  const gateway = await own(t, { 'tls.private_key': readable().key, 'tls.certificate': readable().certificate }, {
    wrap: ['setpriv', `--reuid=${nobody.uid}`, `--regid=${nobody.gid}`, '--clear-groups',
      '--inh-caps=+net_bind_service', '--ambient-caps=+net_bind_service'] });
  assertUnprivileged(gateway.pid, nobody, { bounding: false }); // it may not change that one, nor gain from it
});

/** A certificate that others may read. */
let shared;
function readable() {
  if (!shared) {
    shared = { key: join(folder, 'server.key'), certificate: join(folder, 'server.pem') };
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=shared',
      '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', shared.key, '-out', shared.certificate], { stdio: 'ignore' });
    chmodSync(shared.key, 0o640);
    chownSync(shared.key, 0, nobody.gid);
  }
  return shared;
}

test('keys that process.user may read are read again on SIGHUP; others are warned of at start', { skip: !root }, async t => {
  const { key, certificate } = readable();
  const good = await asNobody(t, { 'tls.certificate': certificate, 'tls.private_key': key });
  assert.doesNotMatch(good.stderr, /not_readable_again/);
  good.process.kill('SIGHUP');
  await until('it has reloaded', () => /event=reloaded/.test(good.stderr));

  chmodSync(good.certificate.key, 0o600);
  const bad = await asNobody(t); // its folder is root's alone
  assert.match(bad.stderr, /level=warn event=not_readable_again setting=tls\.private_key path=\S+ error="Permission denied" user=\d+ group=\d+ advice=/);
  bad.process.kill('SIGHUP');
  await until('it says why it could not reload', () => /event=reload_failed error=.*Permission denied/.test(bad.stderr));
  assert.equal((await bad.get('/readyz')).status, 200);
});

test('system calls are filtered in every thread, unless process.seccomp says otherwise', async t => {
  for (const [mode, state] of [['on', '2'], ['log', '2'], ['off', '0']]) {
    const gateway = await own(t, { 'process.seccomp': mode });
    for (const thread of threads(gateway.pid)) assert.equal(thread.Seccomp, state, `${mode}: ${thread.Name}`);
  }
});

test('a user that cannot be had ends the start with a sentence', async t => {
  for (const [settings, complaint] of [
    [{ 'process.user': 'no-such-user' }, /process\.user: no user is called "no-such-user"/],
    [{ 'process.group': 'nogroup' }, /process\.group: it goes with process\.user/],
    [{ 'process.user': '54321' }, /process\.group must name its group/],
    [{ 'listen.unix_mode': '0999' }, /listen\.unix_mode: "0999" is not a mode/],
    [{ 'listen.unix_owner': 'nobody:no-such-group' }, /listen\.unix_owner: no group is called/],
  ]) {
    const gateway = await Gateway.start(settings, { ready: false });
    const { code } = await gateway.ended;
    assert.ok(code > 0);
    assert.match(gateway.stderr, complaint);
    rmSync(gateway.folder, { recursive: true, force: true });
  }
});

test('nobody but root can become another user', { skip: !root }, async () => {
  const { key, certificate } = readable();
  const gateway = await Gateway.start({ 'process.user': 'daemon', 'tls.certificate': certificate, 'tls.private_key': key }, {
    ready: false, wrap: ['setpriv', `--reuid=${nobody.uid}`, `--regid=${nobody.gid}`, '--clear-groups'] });
  assert.equal((await gateway.ended).code, 1);
  assert.match(gateway.stderr, /only root can become user/);
  rmSync(gateway.folder, { recursive: true, force: true });
});

function connects(path) {
  return new Promise(resolve => {
    const socket = net.connect(path, () => { socket.destroy(); resolve(true); });
    socket.once('error', () => resolve(false));
  });
}

test('unix sockets have the owner and mode that were asked for, serve, and are gone after the end', async t => {
  const paths = { 'listen.publish': join(folder, 'publish.sock'), 'listen.ws': join(folder, 'ws.sock') };
  const gateway = await Gateway.start({ ...Object.fromEntries(Object.entries(paths).map(([key, path]) => [key, `unix:${path}`])),
    'listen.unix_mode': '0606', ...(root ? { 'listen.unix_owner': 'daemon:nogroup' } : {}) });
  for (const path of Object.values(paths)) {
    const { mode, uid } = statSync(path);
    assert.equal(mode & 0o7777, 0o606);
    if (root) assert.equal(uid, Number(execFileSync('id', ['-u', 'daemon'])));
    for (let i = 0; i < 20; i++) assert.ok(await connects(path), 'both acceptors answer');
  }
  const reply = await new Promise((resolve, reject) => {
    const socket = net.connect(paths['listen.ws'], () => socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'));
    socket.once('data', data => { socket.destroy(); resolve(data.toString()); }).once('error', reject);
  });
  assert.match(reply, /^HTTP\/1\.1 200 /);
  await gateway.stop();
  for (const path of Object.values(paths)) assert.ok(!existsSync(path));
});

test('a socket in a folder that process.user may not write to is left, said so, and replaced by the next start', { skip: !root }, async t => {
  const path = join(folder, 'left.sock');
  for (let i = 0; i < 2; i++) {
    const gateway = await Gateway.start({ 'process.user': 'nobody', 'listen.publish': `unix:${path}` });
    assert.ok(await connects(path));
    await gateway.stop();
    assert.match(gateway.stderr, /event=socket_left path=\S+left\.sock error="Permission denied"/);
    assert.ok(existsSync(path));
  }
});
