// Conformance cases in the spirit of the Autobahn suite, for /echo: what to send, and what must come back.
//   send: frames (Buffers) to write; each is one write, `together: true` joins them into one
//   echo: [opcode, payload] of the messages that must come back, in order; a number among or instead of them is the close code
//         that must come; `either`: close codes that are as good
import { BINARY, close, CLOSE, frame, PING, PONG, TEXT } from './wire.mjs';

const part = (opcode, payload, more) => frame(opcode, payload, { fin: false, ...more });
const CONTINUATION = 0;
const hex = text => Buffer.from(text.replaceAll(' ', ''), 'hex');
const hello = 'Hello-µ@ßöäüàá-UTF-8!!';

const lengths = [0, 1, 2, 124, 125, 126, 127, 128, 255, 256, 4095, 4096, 16383, 16384, 16385, 65535, 65536];

const messages = lengths.flatMap(bytes => [
  { name: `text of ${bytes} bytes`, send: [frame(TEXT, '*'.repeat(bytes))], echo: [[TEXT, '*'.repeat(bytes)]] },
  { name: `binary of ${bytes} bytes`, send: [frame(BINARY, Buffer.alloc(bytes, 0xfe))], echo: [[BINARY, Buffer.alloc(bytes, 0xfe)]] },
]).concat([
  { name: 'a mask of zeros', send: [frame(TEXT, 'plain', { mask: Buffer.alloc(4) })], echo: [[TEXT, 'plain']] },
  { name: 'one byte more than limits.message_bytes', send: [frame(BINARY, '', { claim: 65537 })], echo: 1009 },
  { name: 'a claim of 2^62 bytes', send: [frame(BINARY, '', { claim: 2n ** 62n, length: 64 })], echo: 1009 },
  { name: 'fragments that together pass limits.message_bytes', echo: 1009,
    send: [part(BINARY, Buffer.alloc(40000)), part(CONTINUATION, Buffer.alloc(25000)), frame(CONTINUATION, Buffer.alloc(537))] },
  { name: 'fragments of exactly limits.message_bytes', echo: [[BINARY, Buffer.alloc(65536, 1)]],
    send: [part(BINARY, Buffer.alloc(40000, 1)), frame(CONTINUATION, Buffer.alloc(25536, 1))] },
  { name: 'a length in 16 bits that fits in 7', send: [frame(TEXT, 'short', { length: 16 })], echo: 1002 },
  { name: 'a length in 64 bits that fits in 16', send: [frame(TEXT, 'a'.repeat(200), { length: 64 })], echo: 1002 },
  { name: 'a length with its top bit set', send: [frame(BINARY, '', { claim: 2n ** 63n, length: 64 })], echo: 1002 },
]);

const pings = [
  ...[0, 1, 125].map(bytes => ({ name: `a ping of ${bytes} bytes`, send: [frame(PING, Buffer.alloc(bytes, 0xf0))], echo: [[PONG, Buffer.alloc(bytes, 0xf0)]] })),
  { name: 'a ping of 126 bytes', send: [frame(PING, Buffer.alloc(126))], echo: 1002 },
  { name: 'a pong that nobody asked for', send: [frame(PONG, 'x'), frame(PING, 'y')], echo: [[PONG, 'y']] },
  { name: 'ten pings in one segment', together: true, send: Array.from({ length: 10 }, (_, i) => frame(PING, `p${i}`)), echo: Array.from({ length: 10 }, (_, i) => [PONG, `p${i}`]) },
  { name: 'a ping in fragments', send: [part(PING, 'x'), frame(CONTINUATION, 'y')], echo: 1002 },
  { name: 'a close in fragments', send: [part(CLOSE, ''), frame(CONTINUATION, '')], echo: 1002 },
];

const reserved = [
  ...[1, 2, 3, 4, 5, 6, 7].map(rsv => ({ name: `RSV ${rsv} on a text frame`, send: [frame(TEXT, 'x', { rsv })], echo: 1002 })),
  { name: 'RSV 4 on a ping', send: [frame(PING, 'x', { rsv: 4 })], echo: 1002 },
  { name: 'RSV 4 after a good message', send: [frame(TEXT, 'good'), frame(TEXT, 'bad', { rsv: 4 })], echo: [[TEXT, 'good'], 1002] },
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map(opcode => ({ name: `opcode ${opcode}`, send: [frame(opcode, 'x')], echo: 1002 })),
  { name: 'an unmasked text frame', send: [frame(TEXT, 'x', { mask: null })], echo: 1002 },
  { name: 'an unmasked ping', send: [frame(PING, 'x', { mask: null })], echo: 1002 },
  { name: 'an unmasked close', send: [frame(CLOSE, '', { mask: null })], echo: 1002 },
];

const fragments = [
  { name: 'text in two fragments', send: [part(TEXT, 'frag1'), frame(CONTINUATION, 'frag2')], echo: [[TEXT, 'frag1frag2']] },
  { name: 'empty fragments', send: [part(BINARY, ''), part(CONTINUATION, ''), frame(CONTINUATION, '')], echo: [[BINARY, '']] },
  { name: 'an empty first and last fragment', send: [part(TEXT, ''), part(CONTINUATION, 'middle'), frame(CONTINUATION, '')], echo: [[TEXT, 'middle']] },
  { name: '200 fragments of one byte', send: Array.from({ length: 200 }, (_, i) => frame(i === 0 ? TEXT : CONTINUATION, 'x', { fin: i === 199 })), echo: [[TEXT, 'x'.repeat(200)]] },
  { name: 'gobwas/ws: a ping between fragments', send: [part(TEXT, 'one'), frame(PING, 'ping'), frame(CONTINUATION, 'two')], echo: [[PONG, 'ping'], [TEXT, 'onetwo']] },
  { name: 'pings between and after all fragments, in one segment', together: true,
    send: [part(TEXT, 'a'), frame(PING, '1'), part(CONTINUATION, 'b'), frame(PING, '2'), frame(CONTINUATION, 'c'), frame(PING, '3')],
    echo: [[PONG, '1'], [PONG, '2'], [TEXT, 'abc'], [PONG, '3']] },
  { name: 'a continuation of nothing', send: [frame(CONTINUATION, 'x')], echo: 1002 },
  { name: 'a continuation of nothing, unfinished', send: [part(CONTINUATION, 'x')], echo: 1002 },
  { name: 'a continuation after a finished message', send: [frame(TEXT, 'whole'), frame(CONTINUATION, 'x')], echo: [[TEXT, 'whole'], 1002] },
  { name: 'a new message inside an unfinished one', send: [part(TEXT, 'one'), frame(TEXT, 'two')], echo: 1002 },
  { name: 'a close inside an unfinished message', send: [part(TEXT, 'one'), close(1000)], echo: 1000 },
];

const utf8Good = ['', 'Hello', hello, '\u0000', '\u007f', '\u0080', '\u07ff', '\u0800', '\ud7ff', '\ue000', '\ufffd', '\uffff', '\u{10000}', '\u{10ffff}', 'κόσμε', '👩‍👩‍👧'];
const utf8Bad = ['80', 'bf', '8081', 'c3', 'c328', 'c080', 'c1bf', 'e0809f', 'e09fbf', 'eda080', 'edbfbf', 'edadbfedbfbf', 'e282', 'f0808080', 'f08fbfbf', 'f4908080',
  'f8888080 80', 'fc84 8080 8080', 'fe', 'ff', 'fefeffff', 'cebae1bdb9cf83cebcceb5 eda080 656469746564', 'cebae1bdb9cf83cebcceb5 f4908080 656469746564'];
const utf8 = [
  ...utf8Good.map(text => ({ name: `text ${JSON.stringify(text)}`, send: [frame(TEXT, text)], echo: [[TEXT, text]] })),
  ...utf8Good.map(text => ({ name: `text ${JSON.stringify(text)} one byte a fragment`, echo: [[TEXT, text]],
    send: [...Buffer.from(text)].map((byte, i) => part(i === 0 ? TEXT : CONTINUATION, Buffer.of(byte))).concat([frame(text ? CONTINUATION : TEXT, '')]) })),
  ...utf8Bad.map(bytes => ({ name: `text of bytes ${bytes}`, send: [frame(TEXT, hex(bytes))], echo: 1007 })),
  ...utf8Bad.map(bytes => ({ name: `text of bytes ${bytes} one byte a fragment`, echo: 1007,
    send: [...hex(bytes)].map((byte, i) => part(i === 0 ? TEXT : CONTINUATION, Buffer.of(byte))).concat([frame(CONTINUATION, '')]) })),
  ...utf8Bad.map(bytes => ({ name: `binary of bytes ${bytes}`, send: [frame(BINARY, hex(bytes))], echo: [[BINARY, hex(bytes)]] })),
  { name: 'gobwas/ws: a character split by a ping between fragments', echo: [[PONG, 'p'], [TEXT, 'é']],
    send: [part(TEXT, hex('c3')), frame(PING, 'p'), frame(CONTINUATION, hex('a9'))] },
  { name: 'a character split over a fragment that never comes', send: [part(TEXT, hex('c3')), frame(CONTINUATION, 'x')], echo: 1007 },
];

const validCodes = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999];
const badCodes = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535];
const closing = [
  { name: 'a close without a code', send: [frame(CLOSE, '')], echo: 1005, either: [1000] },
  { name: 'a close with one byte', send: [frame(CLOSE, 'x')], echo: 1002 },
  ...validCodes.map(code => ({ name: `close code ${code}`, send: [close(code)], echo: code, either: [1000] })),
  ...badCodes.map(code => ({ name: `close code ${code}, which may not be sent`, send: [close(code)], echo: 1002 })),
  { name: 'a close with a reason of 123 bytes', send: [close(1000, '*'.repeat(123))], echo: 1000 },
  { name: 'a close with a reason of 124 bytes', send: [close(1000, '*'.repeat(124))], echo: 1002 },
  { name: 'a close whose reason is not UTF-8', send: [frame(CLOSE, hex('03e8 ceba e1bdb9 eda080'))], echo: 1007 },
  { name: 'a message after the close, in one segment', together: true, send: [close(1000), frame(TEXT, 'late')], echo: 1000 },
  { name: 'a message and a close, in one segment', together: true, send: [frame(TEXT, 'first'), close(1000)], echo: [[TEXT, 'first'], 1000] },
  { name: 'two closes', together: true, send: [close(1000), close(1000)], echo: 1000 },
];

const segments = [
  { name: '100 messages in one segment', together: true, send: Array.from({ length: 100 }, (_, i) => frame(TEXT, `m${i}`)), echo: Array.from({ length: 100 }, (_, i) => [TEXT, `m${i}`]) },
  { name: 'bad bytes after a good message in one segment', together: true, send: [frame(TEXT, 'good'), hex('ffffffff')], echo: [[TEXT, 'good'], 1002] },
];

export const cases = { messages, pings, reserved, fragments, utf8, closing, segments };
