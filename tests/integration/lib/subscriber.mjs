// Subscribes and reads for ever; for tests that stop a whole process. Needs no package: the URL is its argument.
import { connect } from 'node:net';

const url = new URL(process.argv[2]);
const socket = connect(Number(url.port), url.hostname, () => {
  socket.write(`GET ${url.pathname}${url.search} HTTP/1.1\r\nHost: ${url.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n');
});
socket.on('data', () => {});
socket.on('error', () => process.exit(0));
