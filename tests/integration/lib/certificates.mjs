// Self-made certificates of both kinds, for any names.
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** When the certificate in this PEM text ends, seconds since 1970. */
export const notAfter = pem => Date.parse(new X509Certificate(pem).validTo) / 1000;

/** `kind`: 'ec' (P-256) or 'rsa' (2048 bits). { key, certificate, pem } with paths in `folder`. */
export function selfSigned(folder, name, { kind = 'ec', hosts = ['localhost'], days = 2 } = {}) {
  const key = join(folder, `${name}.key`), certificate = join(folder, `${name}.pem`);
  const algorithm = kind === 'ec' ? ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256'] : ['rsa:2048'];
  execFileSync('openssl', ['req', '-x509', '-newkey', ...algorithm, '-nodes', '-days', `${days}`, '-subj', `/CN=${name}`,
    '-addext', `subjectAltName=${hosts.map(host => `DNS:${host}`).join(',')},IP:127.0.0.1`, '-keyout', key, '-out', certificate], { stdio: 'ignore' });
  return { key, certificate, pem: readFileSync(certificate) };
}
