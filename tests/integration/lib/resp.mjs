// A small Redis client for the publish socket: it sends exactly what it is told and hands back every answer in order.
import net from 'node:net';

function parse(buffer, at) {
  const end = buffer.indexOf('\r\n', at);
  if (end < 0) return null;
  const line = buffer.toString('utf8', at + 1, end), next = end + 2;
  switch (String.fromCharCode(buffer[at])) {
  case '+': return { value: line, next };
  case '-': return { value: new Error(line), next };
  case ':': return { value: Number(line), next };
  case '_': return { value: null, next };
  case '#': return { value: line === 't', next };
  case '$': {
    const bytes = Number(line);
    if (bytes < 0) return { value: null, next };
    return buffer.length < next + bytes + 2 ? null : { value: buffer.toString('utf8', next, next + bytes), next: next + bytes + 2 };
  }
  case '*':
  case '~':
  case '%': {
    const values = [];
    let position = next;
    for (let left = Number(line) * (buffer[at] === 0x25 ? 2 : 1); left > 0; left--) {
      const item = parse(buffer, position);
      if (!item) return null;
      values.push(item.value);
      position = item.next;
    }
    return { value: values, next: position };
  }
  default: throw new Error(`not RESP: ${JSON.stringify(buffer.toString('latin1', at, at + 80))}`);
  }
}

/** One command as a RESP array of bulk strings. */
export function encode(words) {
  const parts = [Buffer.from(`*${words.length}\r\n`)];
  for (const word of words) {
    const bytes = Buffer.isBuffer(word) ? word : Buffer.from(String(word));
    parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n'));
  }
  return Buffer.concat(parts);
}

export class Publisher {
  #buffer = Buffer.alloc(0);
  #waiting = [];
  #answers = [];

  /** `where`: a port on loopback or the path of a unix socket. */
  static async connect(where) {
    const publisher = new Publisher();
    const socket = publisher.socket = net.connect(typeof where === 'number' ? { host: '127.0.0.1', port: where } : { path: where });
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    socket.setNoDelay(true);
    socket.on('error', () => {});
    socket.on('data', data => publisher.#take(data));
    publisher.closed = new Promise(resolve => socket.once('close', () => {
      publisher.#waiting.splice(0).forEach(({ reject }) => reject(new Error('the publish connection was closed')));
      resolve();
    }));
    return publisher;
  }

  #take(data) {
    this.#buffer = Buffer.concat([this.#buffer, data]);
    for (let answer; this.#buffer.length > 0 && (answer = parse(this.#buffer, 0));) {
      this.#buffer = this.#buffer.subarray(answer.next);
      const waiter = this.#waiting.shift();
      if (waiter) waiter.resolve(answer.value);
      else this.#answers.push(answer.value);
    }
  }

  write(bytes) { this.socket.write(bytes); }

  /** The next answer; an error answer is returned as an Error, not thrown. */
  answer() {
    if (this.#answers.length > 0) return Promise.resolve(this.#answers.shift());
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  command(...words) {
    this.write(encode(words));
    return this.answer();
  }

  /** Sends all at once and waits for all answers. */
  pipeline(commands) {
    this.write(Buffer.concat(commands.map(encode)));
    return Promise.all(commands.map(() => this.answer()));
  }

  publish(topic, payload) { return this.command('PUBLISH', topic, payload); }

  end() { this.socket.destroy(); }
}
