// deploy/nginx and deploy/haproxy: the real programs with these very files, two gateways behind them, real clients in front.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import WebSocket from 'ws';
import { subscriber } from './lib/centrifuge.mjs';
import { freePort, makeCertificate, own, until } from './lib/gateway.mjs';
import { serve } from './lib/service.mjs';

const deploy = fileURLToPath(new URL('../../deploy/', import.meta.url));

/** The file with what an operator would change; each of it must be there. */
function adapted(name, changes) {
  let text = readFileSync(join(deploy, name), 'utf8');
  for (const [from, to] of Object.entries(changes)) {
    assert.ok(text.includes(from), `${name} has ${from}`);
    text = text.replaceAll(from, to);
  }
  return text;
}
function scratch(t) {
  const folder = mkdtempSync(join(tmpdir(), 'pushgate-balancer-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
const accepts = port => new Promise(resolve => {
  const socket = net.connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); });
  socket.once('error', () => resolve(false));
});

/** nginx with a main file of its own, which includes ours as the comments on top of them say. */
async function nginx(t, folder, { http = '', stream = '', port }) {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(kind => `${kind}_temp_path ${folder}/${kind};`).join(' ');
  writeFileSync(join(folder, 'nginx.conf'), `${process.getuid() === 0 ? 'user root;' : ''} daemon off; pid ${folder}/nginx.pid; worker_processes 2;
    ${stream ? 'load_module /usr/lib/nginx/modules/ngx_stream_module.so;' : ''} events { worker_connections 1000; }
    ${http ? `http { access_log off; ${temporary} include ${http}; }` : `include ${stream};`}`);
  return serve(t, 'nginx', ['-p', folder, '-c', join(folder, 'nginx.conf'), '-e', 'stderr'], { ready: () => accepts(port), signal: 'SIGTERM' });
}

/** Each starts a balancer before gateways a and b: { port, pem } for clients. `idle`: its timeout for quiet connections. */
const balancers = {
  async 'nginx, HTTP'(t, a, b, idle) {
    const folder = scratch(t), port = await freePort(), { certificate, key, pem } = makeCertificate(folder);
    writeFileSync(join(folder, 'pushgate.conf'), adapted('nginx/pushgate.conf', { 'listen 443 ssl': `listen 127.0.0.1:${port} ssl`, '/etc/nginx/tls/push.example.org.pem': certificate,
      '/etc/nginx/tls/push.example.org.key': key, 'server 10.0.0.11:8080': `server 127.0.0.1:${a.ws}`, 'server 10.0.0.12:8080': `server 127.0.0.1:${b.ws}`, '75s': idle }));
    const { output } = await nginx(t, folder, { http: join(folder, 'pushgate.conf'), port });
    return { port, pem, output };
  },
  async 'nginx, TLS passed through'(t, a, b, idle) {
    const folder = scratch(t), port = await freePort();
    writeFileSync(join(folder, 'stream.conf'), adapted('nginx/pushgate-stream.conf', { 'listen 443': `listen 127.0.0.1:${port}`,
      'server 10.0.0.11:8443': `server 127.0.0.1:${a.wss}`, 'server 10.0.0.12:8443': `server 127.0.0.1:${b.wss}`, '75s': idle }));
    const { output } = await nginx(t, folder, { stream: join(folder, 'stream.conf'), port });
    return { port, pem: [a.certificate.pem, b.certificate.pem], output };
  },
  async 'HAProxy, HTTP'(t, a, b, idle) {
    const { http, pem, output } = await haproxy(t, a, b, idle);
    return { port: http, pem, output };
  },
  async 'HAProxy, TCP'(t, a, b, idle) {
    const { tcp, output } = await haproxy(t, a, b, idle);
    return { port: tcp, pem: [a.certificate.pem, b.certificate.pem], output };
  },
};

/** HAProxy with the values that its file takes from the environment. */
async function haproxy(t, a, b, idle) {
  const folder = scratch(t), http = await freePort(), tcp = await freePort(), { certificate, key, pem } = makeCertificate(folder);
  writeFileSync(join(folder, 'both.pem'), Buffer.concat([readFileSync(certificate), readFileSync(key)]));
  const unprivileged = process.getuid() === 0 ? {} : { 'user haproxy': '', 'group haproxy': '' };
  writeFileSync(join(folder, 'haproxy.cfg'), adapted('haproxy/haproxy.cfg', { '/run/haproxy/admin.sock': join(folder, 'admin.sock'), ...unprivileged }));
  const { output } = await serve(t, 'haproxy', ['-W', '-db', '-f', join(folder, 'haproxy.cfg')], {
    env: { PUSHGATE_1_WS: `127.0.0.1:${a.ws}`, PUSHGATE_1_WSS: `127.0.0.1:${a.wss}`, PUSHGATE_1_ADMIN_PORT: a.admin, PUSHGATE_2_WS: `127.0.0.1:${b.ws}`,
      PUSHGATE_2_WSS: `127.0.0.1:${b.wss}`, PUSHGATE_2_ADMIN_PORT: b.admin, PUSHGATE_BIND_HTTP: `127.0.0.1:${http}`, PUSHGATE_BIND_TCP: `127.0.0.1:${tcp}`,
      PUSHGATE_PEM: join(folder, 'both.pem'), PUSHGATE_TUNNEL_TIMEOUT: idle, PUSHGATE_MAXCONN: 1000 },
    ready: async () => await accepts(http) && await accepts(tcp),
  });
  return { http, tcp, pem, output };
}

/** A gateway as the files' comments want it. */
const gateway = (t, name, settings = {}) => own(t, { 'listen.trusted': '127.0.0.1', 'listen.forwarded': 'x-forwarded-for',
  ...(/HTTP/.test(name) ? {} : { 'listen.proxy_protocol': 'wss' }), 'limits.close_timeout': '1s', ...settings });

/** A plain client, open. */
function plain(t, { port, pem }, path, options = {}) {
  const socket = new WebSocket(`wss://127.0.0.1:${port}${path}`, { ca: pem, ...options });
  t.after(() => socket.terminate());
  const ended = new Promise(resolve => socket.once('close', code => resolve(code)));
  return new Promise((resolve, reject) => {
    socket.once('open', () => resolve(Object.assign(socket, { ended }))).once('error', reject);
  });
}
const message = socket => new Promise(resolve => socket.once('message', data => resolve(String(data))));

describe('balancers', { concurrency: 2 }, () => {
  for (const [name, start] of Object.entries(balancers)) {
    describe(name, { concurrency: true }, () => {
      test('messages pass, to plain clients and to the SDK; everything else is 404', async t => {
        const a = await gateway(t, name), b = await gateway(t, name);
        const front = await start(t, a, b, '75s');
        const sockets = [await plain(t, front, '/ws?topic=news'), await plain(t, front, '/ws?topic=news')];
        const { subscription } = await subscriber(t, front.port, 'news', { pem: front.pem });
        await until('both gateways have clients', async () => await a.metric('pushgate_connections') > 0 && await b.metric('pushgate_connections') > 0);
        const heard = sockets.map(message);
        for (const each of [a, b]) await (await each.publisher()).publish('news', '{"text":"hello"}'); // to each gateway, as they know nothing of one another
        assert.deepEqual(await Promise.all(heard), ['{"text":"hello"}', '{"text":"hello"}']);
        await subscription.log.next('publication');
        assert.deepEqual(subscription.data(), [{ text: 'hello' }]);
        if (/HTTP/.test(name)) await assert.rejects(plain(t, front, '/echo'), /404/);
      });

      test('the gateway has the client\'s own address: limits.connections_per_ip counts it', async t => {
        const a = await gateway(t, name, { 'limits.connections_per_ip': 2 });
        const front = await start(t, a, a, '75s');
        const from = localAddress => plain(t, front, '/ws?topic=news', { localAddress, headers: { 'X-Forwarded-For': '127.9.9.9' } });
        await from('127.0.0.3');
        await from('127.0.0.3');
        await assert.rejects(from('127.0.0.3'));
        assert.ok(await a.metric('pushgate_handshake_failures_total', 'reason="per_ip_limit"') >= 1);
        await from('127.0.0.4');
      });

      test('nchan #674: pings keep quiet connections alive beyond the balancer\'s timeout, and without them they are cut', async t => {
        const pings = await gateway(t, name, { 'idle.ping_interval': '400ms' });
        const quiet = await gateway(t, name, { 'idle.ping_interval': 0, 'idle.timeout': 0 });
        const kept = await plain(t, await start(t, pings, pings, '2s'), '/ws?topic=news');
        const cut = await plain(t, await start(t, quiet, quiet, '2s'), '/ws?topic=news');
        assert.equal(await cut.ended, 1006);
        await sleep(2500); // how long it is quiet is what is tested
        assert.equal(kept.readyState, WebSocket.OPEN);
        const heard = message(kept);
        await (await pings.publisher()).publish('news', 'still here');
        assert.equal(await heard, 'still here');
      });

      test('one of two drains: its clients come back to the other, nobody sees an error, newcomers get in all the time', async t => {
        const a = await gateway(t, name, { 'drain.grace': /HAProxy/.test(name) ? '4s' : '500ms', 'drain.timeout': '1s' }), b = await gateway(t, name);
        const front = await start(t, a, b, '75s');
        const clients = await Promise.all(Array.from({ length: 8 }, () => subscriber(t, front.port, 'news', { pem: front.pem })));
        const sockets = await Promise.all(Array.from({ length: 4 }, () => plain(t, front, '/ws?topic=raw')));
        const moved = await a.metric('pushgate_connections', 'adapter="centrifuge"');
        assert.ok(moved > 0 && moved < 8, `${moved} of 8 SDK clients are where it will be drained`);
        // nginx passes TLS through without asking for health: whoever is in the middle of a handshake when listeners close gets 503.
        let newcomers = 0, unlucky = 0;
        const excuse = error => { if (name !== 'nginx, TLS passed through' || unlucky++ > 0) throw error; };
        a.process.kill('SIGTERM');
        while (!a.exit) {
          const newcomer = await plain(t, front, '/ws?topic=new').catch(excuse);
          newcomer?.close();
          newcomers++;
          await sleep(20);
        }
        assert.deepEqual(a.exit, { code: 0, signal: null });
        assert.ok(newcomers >= 3, `${newcomers} newcomers`);
        await b.subscribed('news', 8);
        await (await b.publisher()).publish('news', '"after"');
        for (const { centrifuge, subscription } of clients) {
          await until('everybody has the message', () => subscription.data().includes('after'));
          assert.deepEqual([...centrifuge.log.all('error'), ...centrifuge.log.all('disconnected'), ...subscription.log.all('error'), ...subscription.log.all('unsubscribed')], []);
        }
        const back = clients.map(({ centrifuge }) => centrifuge.log.all('connecting').map(({ code }) => code).slice(1));
        assert.equal(back.filter(codes => codes.length > 0).length, moved, 'those who came back are those who were there');
        for (const codes of back) assert.ok(codes.length <= 1 && codes.every(code => code === 3001), JSON.stringify(codes));
        const ends = await Promise.all(sockets.map(socket => Promise.race([socket.ended, socket.readyState === WebSocket.OPEN && 'open'])));
        assert.ok(ends.every(end => end === 1001 || end === 'open') && ends.includes(1001), String(ends));
      });
    });
  }
});
