// Starts a real gateway on free loopback ports, for one test or one file, and stops it by its process id.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Publisher } from './resp.mjs';

export const preset = process.env.PUSHGATE_BUILD ?? 'release';
const root = fileURLToPath(new URL('../../../', import.meta.url));
export const binary = join(root, 'build', preset, 'pushgate');
/** A command to start others under: unshare(2) fails, as in containers by default. */
export const noUnshare = join(root, 'tests/integration/lib/no_unshare.py');
const valgrind = process.env.PUSHGATE_VALGRIND
  ? ['valgrind', '--error-exitcode=99', '--leak-check=full', '--errors-for-leak-kinds=definite,indirect', '--show-leak-kinds=definite,indirect']
  : [];
/** The optimised build, not slowed down by a checker: where times and memory may be measured. */
export const measurable = preset === 'release' && valgrind.length === 0;
/** Multiplies deadlines where the gateway runs under a checker. */
export const patience = measurable ? 1 : 4;
const complaints = /event=syscall_refused|Sanitizer|runtime error:|==\d+==.*(Invalid|uninitialised|definitely lost: [1-9])|Assertion|assertion/;

/** Waits until `probe` returns something true, and returns that. */
export async function until(what, probe, milliseconds = 5000) {
  const deadline = Date.now() + milliseconds * patience;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > deadline) throw new assert.AssertionError({ message: `still not after ${milliseconds * patience} ms: ${what}` });
    await sleep(10);
  }
}

/** A self-made EC P-256 certificate for localhost and 127.0.0.1 in `folder`. */
export function makeCertificate(folder, name = 'server') {
  const key = join(folder, `${name}.key`), certificate = join(folder, `${name}.pem`);
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
    '-subj', `/CN=${name}`, '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', key, '-out', certificate], { stdio: 'ignore' });
  return { key, certificate, pem: readFileSync(certificate) };
}

const given = new Set();
/** A port below those that the kernel gives to outgoing connections, so that none of them can take it before the gateway does. */
export async function freePort() {
  const last = Math.max(20000, parseInt(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8'), 10));
  for (;;) {
    const port = 10000 + Math.floor(Math.random() * (last - 10000));
    if (given.has(port)) continue;
    given.add(port);
    const server = net.createServer();
    const free = await new Promise(resolve => server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true)));
    if (!free) continue;
    await new Promise(resolve => server.close(resolve));
    return port;
  }
}

export class Gateway {
  stderr = '';
  exit = null; // { code, signal } once it has ended
  #publishers = [];
  #command;

  /**
   * `settings`: { 'limits.connections': 5, … } on top of what every test gets. `wrap`: a command to start the gateway under.
   * `topics`: { 'chat:*': { history_size: 10, … }, … }, sections [topic chat:*] of a configuration file.
   */
  static async start(settings = {}, { wrap = [], ready = true, topics = {} } = {}) {
    const gateway = new Gateway();
    gateway.folder = mkdtempSync(join(tmpdir(), 'pushgate-test-'));
    gateway.certificate = makeCertificate(gateway.folder);
    gateway.unix = join(gateway.folder, 'publish.sock');
    [gateway.wss, gateway.ws, gateway.publish, gateway.admin] = [await freePort(), await freePort(), await freePort(), await freePort()];
    const all = {
      'listen.wss': `127.0.0.1:${gateway.wss}`, 'listen.ws': `127.0.0.1:${gateway.ws}`,
      'listen.publish': `127.0.0.1:${gateway.publish}`, 'listen.admin': `127.0.0.1:${gateway.admin}`,
      'tls.certificate': gateway.certificate.certificate, 'tls.private_key': gateway.certificate.key,
      'threads.acceptors': 2, 'threads.reactors': 2, 'drain.timeout': '0', 'demo.enabled': 'on', 'auth.anonymous': 'on',
      'debug.core_dumps': 'on', // else only root may look at its descriptors in /proc
      ...(preset === 'tsan' ? { 'threads.private_fds': 'off' } : {}), // it follows descriptors by number, one table for all threads
      ...settings,
    };
    const rules = Object.entries(topics).flatMap(([pattern, rule]) =>
      [`[topic ${pattern}]`, ...Object.entries(rule).map(([key, value]) => `${key} = ${value}`), '']);
    const config = join(gateway.folder, 'topics.conf');
    if (rules.length > 0) writeFileSync(config, rules.join('\n'));
    gateway.#command = [...wrap, ...valgrind, binary, ...(rules.length > 0 ? [`--config=${config}`] : []),
      ...Object.entries(all).map(([key, value]) => `--${key}=${value}`)];
    await gateway.#run(ready);
    return gateway;
  }

  async #run(ready) {
    const [command, ...rest] = this.#command;
    this.exit = null;
    this.process = spawn(command, rest, { stdio: ['ignore', 'pipe', 'pipe'], cwd: this.folder });
    for (const stream of [this.process.stdout, this.process.stderr])
      stream.setEncoding('utf8').on('data', text => { this.stderr += text; });
    this.ended = new Promise(resolve => this.process.once('close', (code, signal) => resolve(this.exit = { code, signal })));
    if (ready) {
      await until('the gateway is ready', async () => {
        assert.equal(this.exit, null, `the gateway ended at its start: ${this.stderr}`);
        return (await this.get('/readyz').catch(() => null))?.status === 200;
      }, 10000);
    }
  }

  get pid() { return this.process.pid; }

  /** Ends it as an operator in a hurry would, who does not wait for clients that do not answer, and checks that it went in good order. */
  async stop() {
    for (const publisher of this.#publishers) publisher.end();
    if (!this.exit) this.process.kill('SIGTERM');
    const hurry = setTimeout(() => this.process.kill('SIGTERM'), 300 * patience), late = setTimeout(() => this.process.kill('SIGKILL'), 10000 * patience);
    const { code, signal } = await this.ended;
    clearTimeout(hurry);
    clearTimeout(late);
    rmSync(this.folder, { recursive: true, force: true });
    assert.doesNotMatch(this.stderr, complaints);
    assert.deepEqual({ code, signal }, { code: 0, signal: null }, `how the gateway ended; it said:\n${this.stderr.slice(-4000)}`);
  }

  /** Ends it as an operator would, or by SIGKILL, and starts it again on the same ports. */
  async restart(signal = 'SIGTERM') {
    for (const publisher of this.#publishers.splice(0)) publisher.end();
    this.probe = null;
    this.process.kill(signal);
    await this.ended;
    await this.#run(true);
  }

  async get(path, options) { return fetch(`http://127.0.0.1:${this.admin}${path}`, options); }

  /** All samples: Map of 'name{labels}' to number. */
  async metrics() {
    const text = await (await this.get('/metrics')).text();
    return new Map(text.split('\n').filter(line => line && !line.startsWith('#'))
      .map(line => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]));
  }

  /** Sum over the samples of one metric whose labels contain every one of `labels`, e.g. 'reason="idle_timeout"'. */
  async metric(name, ...labels) {
    let sum = 0, found = false;
    for (const [key, value] of await this.metrics()) {
      if (key !== name && !key.startsWith(`${name}{`)) continue;
      found = true;
      if (labels.every(label => key.includes(label))) sum += value;
    }
    assert.ok(found, `/metrics has ${name}`);
    return sum;
  }

  async connections(expected) { return until(`${expected} connections`, async () => (await this.metric('pushgate_connections')) === expected); }

  async publisher(options) {
    const publisher = await Publisher.connect(options ?? this.publish);
    this.#publishers.push(publisher);
    return publisher;
  }

  /** Waits until `topic` has `count` subscribers. */
  async subscribed(topic, count = 1) {
    this.probe ??= await this.publisher();
    await until(`${topic} has ${count} subscribers`, async () => (await this.probe.command('PUBSUB', 'NUMSUB', topic))[1] === count);
  }

  /** Resident bytes. */
  rss() { return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'))[1]) * 1024; }

  /** CPU time so far in milliseconds (user and system, all threads). */
  cpu() {
    const fields = readFileSync(`/proc/${this.pid}/stat`, 'utf8').split(') ')[1].split(' ');
    return (Number(fields[11]) + Number(fields[12])) * 10; // a tick is 10 ms
  }

  /** Open descriptors: the sum over threads, because each may have a table of its own. */
  descriptors() {
    return readdirSync(`/proc/${this.pid}/task`).reduce((sum, thread) => sum + readdirSync(`/proc/${this.pid}/task/${thread}/fd`).length, 0);
  }
}

/** A gateway for all tests of a file: const gateway = shared({ 'idle.timeout': '1s' }) → gateway() inside tests. */
export function shared({ before, after }, settings, options) {
  let gateway;
  before(async () => { gateway = await Gateway.start(settings, options); });
  after(async () => { await gateway?.stop(); });
  return () => gateway;
}

/** A gateway for one test. */
export async function own(t, settings, options) {
  const gateway = await Gateway.start(settings, options);
  t.after(() => gateway.stop());
  return gateway;
}
