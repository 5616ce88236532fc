// loadtest/million with few connections: that it measures, finds faults, and leaves nothing behind; not how fast anything is.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { measurable, preset, until } from './lib/gateway.mjs';

const tool = fileURLToPath(new URL('../../loadtest/million', import.meta.url));
const connections = 2000;

/** Command lines of processes that name `folder`: all that the tool starts keep their files in it. */
function processes(folder) {
  return readdirSync('/proc').filter(name => /^\d+$/.test(name)).map(pid => {
    try { return { pid: Number(pid), line: readFileSync(`/proc/${pid}/cmdline`, 'utf8') }; } catch { return { line: '' }; }
  }).filter(({ line }) => line.includes(folder));
}
const running = (folder, program) => processes(folder).find(({ line }) => line.split('\0')[0].endsWith(`/${program}`));

const childBuckets = () => { try { return readFileSync('/proc/sys/net/ipv4/tcp_child_ehash_entries', 'utf8'); } catch { return null; } };
const network = pid => readlinkSync(`/proc/${pid}/ns/net`);

function million(t, options, { during, wrap = [] } = {}) {
  const before = childBuckets();
  const folder = mkdtempSync(join(tmpdir(), 'million-test-')), reports = mkdtempSync(join(tmpdir(), 'million-report-'));
  t.after(() => { for (const path of [folder, reports]) rmSync(path, { recursive: true }); });
  const [command, ...first] = [...wrap, tool];
  const child = spawn(command, [...first, String(connections), '--no-build', `--preset=${preset}`, '--hold=0.6', '--ping-interval=0.4',
    `--report=${join(reports, 'report')}`, ...options], { env: { ...process.env, TMPDIR: folder } });
  let out = '', text = '';
  child.stdout.setEncoding('utf8').on('data', data => { out += data; });
  child.stderr.setEncoding('utf8').on('data', data => { text += data; });
  const ended = new Promise(resolve => child.on('close', code => {
    const path = join(reports, 'report.json');
    resolve({ code, out, text, report: existsSync(path) ? JSON.parse(readFileSync(path)) : null });
  }));
  return Promise.all([ended, during?.(child, folder)]).then(([result]) => {
    assert.deepEqual(processes(folder), [], 'no process is left');
    assert.deepEqual(readdirSync(folder), [], 'no file is left');
    assert.equal(childBuckets(), before, 'net.ipv4.tcp_child_ehash_entries is as it was');
    return result;
  });
}

describe('loadtest/million', { skip: !measurable && 'is for the optimised build' }, () => {
  for (const transport of ['wss', 'ws']) {
    test(`both phases over ${transport}`, async t => {
      const { code, out, text, report } = await million(t, transport === 'ws' ? ['--ws'] : []);
      assert.equal(code, 0, out + text);
      assert.match(out, /\npassed\n$/);
      assert.ok(report.passed && report.transport === transport && report.connections === connections);
      const { pings_off: off, pings_on: on } = report;
      assert.equal(off.opened, connections);
      assert.equal(off.messages.delivered, 10 * connections);
      assert.equal(off.messages.lost + off.messages.duplicated + off.messages.out_of_order, 0);
      assert.equal(off.messages.spread_us.count, 10);
      assert.ok(off.memory.gateway_user_bytes_per_connection > 64 && off.memory.gateway_user_bytes_per_connection < 4000);
      assert.ok(off.idle_cpu_share >= 0 && off.idle_cpu_share < 0.5);
      assert.ok(on.pings >= 1.5 * connections && on.cpu_share > 0);
      assert.deepEqual(on.load.connections.close_codes, { 1001: connections });
      if (transport === 'wss') assert.equal(on.load.connections.sessions_resumed, connections);
      assert.match(report.preflight.text, /RLIMIT_NOFILE/);
      assert.ok(report.samples.pings_off.length >= 1);
      assert.match(out, /user bytes a connection/);
    });
  }

  test('has a network namespace of its own where it may, and says the size of its table of sockets', async t => {
    let apart;
    const { code, out, text, report } = await million(t, ['--ws', '--no-pings'], {
      during: async (child, folder) => {
        const clients = await until('clients run', () => running(folder, 'pushgate-load'), 20000);
        apart = network(clients.pid) !== network('self');
      },
    });
    assert.equal(code, 0, out + text);
    assert.equal(report.network.own_namespace, apart);
    if (apart) {
      assert.ok(report.network.established_buckets >= 4 * connections);
      assert.match(out, /\nTable of established TCP sockets: [\d,]+ buckets, in a network namespace of its own\.\n/);
    } else {
      assert.match(text, /no network namespace of its own: (only root|the kernel)/);
    }
  });

  for (const [what, wrap, options, said] of [
    ['that is not to be used', [], ['--no-namespace'], /^(?![^]*no network namespace)/],
    ['that it may not make', ['setpriv', '--bounding-set=-sys_admin,-net_admin', '--inh-caps=-all'], [], /million: no network namespace of its own: [^\n]+\n/],
  ]) {
    test(`without a namespace ${what}, it measures in the machine's`, { skip: wrap.length > 0 && process.getuid() !== 0 && 'drops capabilities of root' }, async t => {
      const { code, out, text, report } = await million(t, ['--ws', '--no-pings', ...options], {
        wrap,
        during: async (child, folder) => {
          const clients = await until('clients run', () => running(folder, 'pushgate-load'), 20000);
          assert.equal(network(clients.pid), network('self'));
        },
      });
      assert.equal(code, 0, out + text);
      assert.equal(report.network.own_namespace, false);
      assert.match(text, said);
      assert.match(out, /\nTable of established TCP sockets: ([\d,]+ buckets, the machine's|the kernel does not show its size)\.\n/);
    });
  }

  test('a gateway that ends is a result: what stopped the run, and what was measured', async t => {
    const { code, out, report } = await million(t, ['--ws', '--hold=30', '--no-pings'], {
      during: async (child, folder) => {
        await until('clients run', () => running(folder, 'pushgate-load'), 20000);
        process.kill(gatewayOf(child.pid), 'SIGKILL');
      },
    });
    assert.equal(code, 1);
    assert.match(report.stopped, /^the gateway ended \(-9\)/);
    assert.match(out, /STOPPED: the gateway ended/);
    assert.equal(report.passed, false);
  });

  test('when memory runs short while connections open, those that are open are measured, and the report says what stopped it', async t => {
    const available = Number(/^MemAvailable: +(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))[1]);
    const { code, out, report } = await million(t, ['--ws', '--rate=500', `--spare=${available / 300}`]); // KiB: for about 300 connections
    assert.equal(code, 1);
    assert.match(report.stopped, /^memory: [\d,]+ MiB were left at [\d,]+ connections while opening; what is open has been measured$/);
    assert.match(out, /\nSTOPPED: memory: /);
    const { pings_off: off, pings_on: on } = report;
    assert.ok(off.opened >= 250 && off.opened < connections, `${off.opened}`);
    assert.equal(off.messages.delivered, 10 * off.opened);
    assert.equal(off.messages.lost + off.messages.duplicated + off.messages.out_of_order, 0);
    assert.ok(report.rows.some(({ name, verdict }) => name === '10 messages to all' && verdict === 'met'));
    assert.ok(on.opened <= off.opened && on.pings >= 1.5 * on.opened);
    assert.deepEqual(on.load.connections.close_codes, { 1001: on.opened });
  });

  test('SIGTERM ends it early with a report', async t => {
    const { code, report } = await million(t, ['--ws', '--hold=60'], {
      during: async (child, folder) => {
        await until('clients run', () => running(folder, 'pushgate-load'), 20000);
        child.kill('SIGTERM');
      },
    });
    assert.equal(code, 1);
    assert.equal(report.stopped, 'interrupted');
  });

  test('a number that is none is refused', async t => {
    const { code, text } = await million(t, ['--hold=0']);
    assert.equal(code, 2);
    assert.match(text, /--hold is at least/);
  });
});

/** The gateway over ws names no file: it is found as a child of the tool. */
function gatewayOf(parent) {
  const children = readFileSync(`/proc/${parent}/task/${parent}/children`, 'utf8').trim().split(/\s+/).map(Number);
  return children.find(pid => readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[0].endsWith('/pushgate'));
}
