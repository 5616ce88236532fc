// A backend for test_proxy.c. Prints "PORT TLS_PORT" and answers each path in its own way until its stdin ends.
// Arguments: certificate and private key of the TLS port.
import { readFileSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';

const seen = { connections: 0, requests: 0, in_flight: 0, in_flight_max: 0, redirected: 0 };

function answer(response, body, status = 200, headers = {}) {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
}
const result = (response, fields) => answer(response, { result: fields });

const paths = {
  '/connect': (request, response) => result(response, { user: '56', expire_at: 1565436268, channels: ['news'] }),
  '/echo': (request, response, body) => {
    const { url, method, headers, httpVersion } = request;
    result(response, { data: { url, method, headers, httpVersion, body: JSON.parse(body) } });
  },
  '/data': (request, response, body) => setTimeout(() => result(response, { data: JSON.parse(body).data }), 5),
  '/seen': (request, response) => result(response, { data: seen }),
  '/error': (request, response) => answer(response, { error: { code: 403, message: 'permission denied' } }),
  '/disconnect': (request, response) => answer(response, { disconnect: { code: 4501, reason: 'unauthorized' } }),
  '/500': (request, response) => answer(response, { result: {} }, 500),
  '/201': (request, response) => answer(response, { result: {} }, 201),
  '/redirect': (request, response) => answer(response, { result: {} }, 302, { location: '/redirected' }),
  '/redirected': (request, response) => { seen.redirected++; result(response, {}); },
  '/text': (request, response) => answer(response, 'It works!'),
  '/empty': (request, response) => answer(response, ''),
  '/large': (request, response) => answer(response, { result: { data: 'x'.repeat(1 << 20) } }),
  '/large_500': (request, response) => answer(response, 'x'.repeat(1 << 20), 500),
  '/endless': (request, response) => {
    response.writeHead(200);
    const more = () => { while (!response.destroyed && response.write('x'.repeat(4096))); };
    response.on('drain', more).on('error', () => {});
    more();
  },
  '/endless_head': ({ socket }) => {
    socket.write('HTTP/1.1 200 OK\r\n');
    const more = () => { while (!socket.destroyed && socket.write(`X-Filler: ${'x'.repeat(4096)}\r\n`)); };
    socket.on('drain', more).on('error', () => {});
    more();
  },
  '/hang': () => {},
  '/trickle': (request, response) => {
    response.writeHead(200);
    const timer = setInterval(() => response.write(' '), 20);
    response.on('close', () => clearInterval(timer));
  },
  '/half': (request, response) => {
    response.writeHead(200, { 'content-length': 100 });
    response.write('{"result":', () => request.socket.destroy());
  },
  '/gone': ({ socket }) => socket.destroy(),
  // A good answer, behind which the connection ends without a word in the head.
  '/last': (request, response) => {
    response.on('finish', () => request.socket.end());
    result(response, {});
  },
};

function serve(request, response) {
  seen.requests++;
  seen.in_flight_max = Math.max(seen.in_flight_max, ++seen.in_flight);
  response.on('close', () => seen.in_flight--);
  const parts = [];
  request.on('data', part => parts.push(part)).on('error', () => {});
  request.on('end', () => {
    const path = paths[request.url.split('?')[0]];
    if (path) path(request, response, Buffer.concat(parts).toString());
    else answer(response, { result: {} }, 404);
  });
}

const listen = (server, event) => new Promise(resolve => {
  server.on(event, () => seen.connections++).listen(0, '127.0.0.1', () => resolve(server.address().port));
});

const plain = http.createServer({ keepAliveTimeout: 60000 }, serve);
const [cert, key] = process.argv.slice(2, 4).map(path => readFileSync(path));
const tls = http2.createSecureServer({ cert, key, allowHTTP1: true }, serve).on('sessionError', () => {});
console.log(await listen(plain, 'connection'), await listen(tls, 'secureConnection'));
process.stdin.on('end', () => process.exit(0)).resume();
