// Self-made certificates of both kinds, for any names.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** `kind`: 'ec' (P-256) or 'rsa' (2048 bits). { key, certificate, pem } with paths in `folder`. */
export function selfSigned(folder, name, { kind = 'ec', hosts = ['localhost'] } = {}) {
  const key = join(folder, `${name}.key`), certificate = join(folder, `${name}.pem`);
  const algorithm = kind === 'ec' ? ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256'] : ['rsa:2048'];
  execFileSync('openssl', ['req', '-x509', '-newkey', ...algorithm, '-nodes', '-days', '2', '-subj', `/CN=${name}`,
    '-addext', `subjectAltName=${hosts.map(host => `DNS:${host}`).join(',')},IP:127.0.0.1`, '-keyout', key, '-out', certificate], { stdio: 'ignore' });
  return { key, certificate, pem: readFileSync(certificate) };
}
