// Runs pushgate-load.
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { binary, measurable, preset } from './gateway.mjs';

const load = join(dirname(binary), 'pushgate-load');

/** Runs the tool; `onStart` is called at once, `onReady` when the opening is over and connections are open. Returns exit code or signal, text
    and the JSON report. */
export function run(mode, options, { onStart, onReady, env } = {}) {
  const all = { settle: measurable ? '1s' : '2s', quiet: true, json: '-', ...options };
  if (preset === 'tsan') all['shared-fds'] = true; // it tracks descriptors by number for the whole process
  const child = spawn(load, [mode, ...Object.entries(all).map(([key, value]) => (value === true ? `--${key}` : `--${key}=${value}`))], { env: { ...process.env, ...env } });
  const started = onStart?.(child);
  let out = '', text = '', ready = false;
  child.stdout.on('data', data => { out += data; }); // with --json=- nothing but JSON
  child.stderr.on('data', data => {
    text += data;
    if (!ready && /^ready$/m.test(text)) {
      ready = true;
      onReady?.(child);
    }
  });
  const ended = new Promise(resolve => child.on('close', (code, signal) => {
    resolve({ code, signal, text, ready, report: out && all.json === '-' ? JSON.parse(out) : null, out });
  }));
  return Promise.all([ended, started]).then(([result]) => result);
}
