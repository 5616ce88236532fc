// Runs pushgate-load.
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { binary, measurable, preset } from './gateway.mjs';

const load = join(dirname(binary), 'pushgate-load');

/** Runs the tool; `onStart` is called at once, `onReady` when all connections are open. Returns exit code, text and the JSON report. */
export function run(mode, options, { onStart, onReady, env } = {}) {
  const all = { settle: measurable ? '1s' : '2s', quiet: true, json: '-', ...options };
  if (preset === 'tsan') all['shared-fds'] = true; // it tracks descriptors by number for the whole process
  const child = spawn(load, [mode, ...Object.entries(all).map(([key, value]) => (value === true ? `--${key}` : `--${key}=${value}`))], { env: { ...process.env, ...env } });
  const started = onStart?.(child);
  let out = '', text = '', ready = false;
  child.stdout.on('data', data => {
    out += data;
    if (!ready && out.startsWith('ready\n')) {
      ready = true;
      onReady?.(child);
    }
  });
  child.stderr.on('data', data => { text += data; });
  const ended = new Promise(resolve => child.on('close', code => {
    const json = out.slice(out.indexOf('{'));
    resolve({ code, text, ready, report: json.startsWith('{') ? JSON.parse(json) : null });
  }));
  return Promise.all([ended, started]).then(([result]) => result);
}
