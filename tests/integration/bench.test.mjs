// loadtest/bench with tiny counts: that it measures, compares and cleans up; not how fast anything is.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { measurable, own, preset } from './lib/gateway.mjs';
import { run as runLoad } from './lib/load.mjs';

const tool = fileURLToPath(new URL('../../loadtest/bench', import.meta.url));
const names = ['memory-ws', 'memory-wss', 'memory-centrifuge', 'fanout-ws', 'fanout-wss', 'burst-ws', 'burst-wss', 'unicast', 'handshakes', 'resumption', 'publish', 'latency', 'idle'];

function bench(t, ...options) {
  const folder = mkdtempSync(join(tmpdir(), 'bench-test-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const child = spawn(tool, ['--no-build', `--preset=${preset}`, ...options], { env: { ...process.env, TMPDIR: folder } });
  let out = '', text = '';
  child.stdout.setEncoding('utf8').on('data', data => { out += data; });
  child.stderr.setEncoding('utf8').on('data', data => { text += data; });
  return new Promise(resolve => child.on('close', code => resolve({ code, out, text, left: readdirSync(folder), folder })));
}

describe('loadtest/bench', { skip: !measurable && 'is for the optimised build' }, () => {
  test('measures every budget against its counterpart and leaves nothing behind', { skip: availableParallelism() < 2 && 'needs two cores' }, async t => {
    const { code, out, text, left } = await bench(t, '--smoke', '--no-fail', '--json=-');
    assert.equal(code, 0, text);
    const { results, cores, seconds } = JSON.parse(out);
    assert.deepEqual(results.map(({ name }) => name), names);
    assert.ok(cores >= 2 && seconds > 0);
    for (const { name, measured, bare, ratio, budget, judged, bound, passed, rounds, error } of results) {
      assert.equal(error, null, name);
      assert.ok(Number.isFinite(measured) && measured >= 0, name);
      assert.ok(rounds.length >= 1 && rounds.every(Number.isFinite), name);
      if (!name.startsWith('memory')) assert.ok(Number.isFinite(bare), name);
      if (judged === 'ratio') assert.ok(ratio > 0, name);
      const value = judged === 'ratio' ? ratio : measured;
      assert.equal(passed, bound === 'min' ? value >= budget : value <= budget, name);
    }
    assert.deepEqual(left, []);
  });

  test('measures what is asked for, says so in a table, and fails when a budget is missed', { skip: availableParallelism() < 2 && 'needs two cores' }, async t => {
    const { code, out, text } = await bench(t, '--smoke', 'memory'); // with a few hundred connections, fixed costs are far over the budget
    assert.equal(code, 1, text);
    assert.match(out, /^memory-ws: .* bytes .*<= 128/m);
    assert.match(out, /^memory-wss: .*MISSED/m);
    assert.doesNotMatch(out, /fanout/);
  });

  test('says what it cannot measure', { skip: availableParallelism() < 2 && 'needs two cores' }, async t => {
    const unknown = await bench(t, '--smoke', 'fan-out');
    assert.equal(unknown.code, 2);
    assert.match(unknown.text, /no measurement 'fan-out'.*fanout-wss/);
    const file = join(unknown.folder, 'x.json');
    const few = await new Promise(resolve => {
      const child = spawn('sh', ['-c', `ulimit -n 400 && exec "$0" --no-build --preset=${preset} fanout-ws --json="$1"`, tool, file]);
      let text = '';
      child.stdout.resume();
      child.stderr.on('data', data => { text += data; });
      child.on('close', code => resolve({ code, text, report: JSON.parse(readFileSync(file)) }));
    });
    assert.equal(few.code, 2, few.text);
    assert.match(few.report.results[0].error, /RLIMIT_NOFILE is 400 and 15500 descriptors are needed/);
  });

  test('a client that kept its ticket resumes its session', async t => {
    const gateway = await own(t);
    const target = `wss://127.0.0.1:${gateway.wss}/ws?topic=x`;
    const { code, report, text } = await runLoad('idle', { target, cafile: gateway.certificate.certificate, connections: 50, hold: 0, resume: true });
    assert.equal(code, 0, text);
    assert.equal(report.connections.sessions_resumed, 50);
  });
});
