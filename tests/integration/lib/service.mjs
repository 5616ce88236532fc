// Starts a program that serves (nginx, haproxy, prometheus, …) in the foreground and stops it by its process id.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { patience, until } from './gateway.mjs';

/** Until `ready()` is true. { process, output(), stop() }; it is stopped when the test ends, and must not have ended before. */
export async function serve(t, command, args, { ready, env = {}, cwd, signal = 'SIGTERM' } = {}) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], cwd, env: { ...process.env, ...env } });
  let output = '', ended = null;
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', text => { output += text; });
  const end = new Promise(resolve => child.once('close', (code, by) => resolve(ended = { code, by })).once('error', error => resolve(ended = { error })));
  const stop = async () => {
    const early = ended;
    child.kill(signal);
    const late = setTimeout(() => child.kill('SIGKILL'), 5000 * patience);
    await end;
    clearTimeout(late);
    assert.equal(early, null, `${command} ended by itself: ${output}`);
  };
  t.after(stop);
  await until(`${command} is ready; it said: ${output}`, () => {
    assert.equal(ended, null, `${command} ended at its start: ${output}`);
    return ready();
  }, 15000);
  return { process: child, output: () => output, stop };
}
