// loadtest/compare with tiny counts: that systems are measured alike, that absent ones are named as such, and that nothing is left.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { measurable, preset } from './lib/gateway.mjs';

const tool = fileURLToPath(new URL('../../loadtest/compare', import.meta.url));

/** `onText` is called with the process and all that it has said, whenever it says more. */
function compare(t, options, onText) {
  const folder = mkdtempSync(join(tmpdir(), 'compare-test-')), reports = mkdtempSync(join(tmpdir(), 'compare-report-'));
  t.after(() => { for (const path of [folder, reports]) rmSync(path, { recursive: true }); });
  const child = spawn(tool, ['--no-build', `--preset=${preset}`, `--report=${join(reports, 'report')}`, ...options], { env: { ...process.env, TMPDIR: folder } });
  let out = '', text = '';
  child.stdout.setEncoding('utf8').on('data', data => { out += data; });
  child.stderr.setEncoding('utf8').on('data', data => { text += data; onText?.(child, text); });
  return new Promise(resolve => child.on('close', code => {
    const path = join(reports, 'report.json');
    const left = readdirSync('/proc').filter(name => /^\d+$/.test(name)).map(pid => {
      try { return readFileSync(`/proc/${pid}/cmdline`, 'utf8'); } catch { return ''; }
    }).filter(line => line.includes(folder));
    assert.deepEqual(left, [], 'no process is left');
    assert.deepEqual(readdirSync(folder), [], 'no file is left');
    resolve({ code, out, text, report: existsSync(path) ? JSON.parse(readFileSync(path)) : null });
  }));
}

const skip = (!measurable && 'is for the optimised build') || (availableParallelism() < 2 && 'needs two cores');

describe('loadtest/compare', { skip }, () => {
  test('measures what is installed, names what is not', async t => {
    const { code, out, text, report } = await compare(t, ['--connections=200', '--messages=3', '--rounds=1', '--settle=0.3', '--transports=wss']);
    assert.equal(code, 0, out + text);
    const packages = { nchan: 'nginx libnginx-mod-nchan', mosquitto: 'mosquitto', nats: 'nats-server' };
    assert.deepEqual(Object.keys(report.results.wss), ['pushgate', ...Object.keys(packages)]);
    for (const [name, system] of Object.entries(report.results.wss)) {
      if (name in packages && system.error) {
        assert.equal(system.error, `not installed (deploy/packages.sh ${packages[name]})`);
        continue;
      }
      assert.deepEqual(system.faults, {}, name);
      assert.equal(system.rounds.length, 1);
      for (const value of Object.values(system.figures)) assert.ok(Number.isFinite(value) && value > 0, `${name} ${JSON.stringify(system.figures)}`);
      assert.ok(out.includes(system.configuration.split('\n')[0]), 'the configuration is shown');
    }
    assert.match(out, /one message to all, ms +\d/);
  });

  test('ended early, it reports the rounds that it has measured', async t => {
    const { code, out, report } = await compare(t, ['--connections=50', '--messages=2', '--rounds=1000', '--settle=0.1', '--transports=ws', '--systems=pushgate'],
      (child, text) => { if (!child.killed && text.includes('round 3 of')) child.kill('SIGTERM'); });
    assert.equal(code, 1);
    assert.match(out, /^STOPPED: interrupted\. Rounds that were measured: pushgate over ws 2\.$/m);
    assert.equal(report.stopped, 'interrupted');
    assert.equal(report.results.ws.pushgate.rounds.length, 2);
    assert.match(out, /one message to all, ms +\d/);
  });

  test('a system that nobody knows is refused', async t => {
    const { code, text } = await compare(t, ['--systems=pushgate,mine']);
    assert.equal(code, 2);
    assert.match(text, /no system is called mine/);
  });
});
