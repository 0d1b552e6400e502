// Strongroom for Node applications that keep their own database: what a column held in clear is
// sealed by the vault before it is written and opened after it is read. One file, nothing else
// needed; Node 18 or later. The application has a client certificate, and no key of its own.
//
//   const strongroom = new Strongroom({
//     url: 'https://vault.example:7444',
//     ca: 'pki/ca.crt', certificate: 'pki/app.crt', key: 'pki/app.key',   // PEM files
//     context: 'accounts.credentials',
//   });
//   row.credentials = await strongroom.encryptCredentials({ access_token: '…' });
//   const credentials = await strongroom.decryptCredentials(row.credentials);
//
// The context says where a value belongs (1 to 128 letters, digits and characters of ._-:@+=,~):
// it opens nowhere else. Name the row as well (`accounts:42`) and a value moved to another row does
// not open either. Sealing what is sealed gives it back, with its data key wrapped anew when the
// master key was rotated. Sealed values are JSON objects, and may be kept as text.
import { readFileSync, statSync } from 'node:fs';
import https from 'node:https';

const MAX_ITEMS = 100; // of one call
const MAX_BODY_BYTES = 2 * 1024 * 1024; // of one call
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;
const RETRY_AFTER_MS = 100;

// Every failure of a call. `code` is the vault's word: integrity_failure (the value does not open:
// damaged, of another owner or context), permission_denied, invalid_argument, resource_exhausted,
// unavailable (also: no answer within the deadline, no connection, a server that is not trusted) …
// No message holds a value.
export class StrongroomError extends Error {
  constructor(code, message, { status, requestId, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'StrongroomError';
    this.code = code;
    this.status = status;
    this.requestId = requestId;
  }
}

function readKey(path) {
  if (process.platform !== 'win32' && (statSync(path).mode & 0o077) !== 0) {
    throw new StrongroomError('invalid_argument', `${path} can be read by others; its mode must be 0600`);
  }
  return readFileSync(path);
}

function toJson(value) {
  const text = JSON.stringify(value);
  if (text === undefined) throw new TypeError('a value must be JSON: an object, text, number, boolean or null');
  return text;
}

function errorOf(error, more) {
  return new StrongroomError(error?.code ?? 'internal', error?.message ?? 'the answer makes no sense', more);
}

export class Strongroom {
  #url;
  #agent;
  #context;
  #deadlineMs;

  // `context` is for calls that name none. `deadlineMs` bounds each request, a retry included.
  constructor({ url, ca, certificate, key, context, deadlineMs = 5000, maxSockets = 16 }) {
    this.#url = new URL(url);
    if (this.#url.protocol !== 'https:') {
      throw new StrongroomError('invalid_argument', 'url must begin with https://');
    }
    this.#context = context;
    this.#deadlineMs = deadlineMs;
    this.#agent = new https.Agent({
      keepAlive: true, maxSockets, ca: readFileSync(ca), cert: readFileSync(certificate), key: readKey(key),
    });
  }

  // The sealed value, to be kept. Throws StrongroomError.
  async encryptCredentials(value, { context } = {}) {
    return (await this.seal(value, { context })).value;
  }

  // What was sealed. Throws StrongroomError.
  async decryptCredentials(value, { context } = {}) {
    return (await this.open(value, { context })).value;
  }

  // {value, state: 'sealed' | 'unchanged' | 'rewrapped', key_id, key_version}
  seal(value, { context } = {}) {
    return this.#request('/v1/seal', this.#item({ value, context }));
  }

  // {value, sealed, reseal, …}: sealed is false for a plaintext that the vault let through; reseal
  // is true when seal() would give a value under a newer master key version.
  open(value, { context } = {}) {
    return this.#request('/v1/open', this.#item({ value, context }));
  }

  // [{value, context}, …], as many as you like, up to 100 in one request. One result for each, in
  // order: that of seal() or open(), or {error: StrongroomError}. Throws when a request failed whole.
  sealMany(items) {
    return this.#many('/v1/seal', items);
  }

  openMany(items) {
    return this.#many('/v1/open', items);
  }

  // Closes idle connections.
  close() {
    this.#agent.destroy();
  }

  #item({ value, context = this.#context }) {
    return `{"value":${toJson(value)},"context":${JSON.stringify(context ?? null)}}`;
  }

  async #many(path, items) {
    const results = [];
    let batch = [];
    let bytes = 0;
    const send = async () => {
      if (batch.length === 0) return;
      const answer = await this.#request(path, `{"items":[${batch.join()}]}`);
      if (!Array.isArray(answer.results) || answer.results.length !== batch.length) throw errorOf();
      for (const result of answer.results) results.push(result.error ? { error: errorOf(result.error) } : result);
      batch = [];
      bytes = 0;
    };
    for (const one of items) {
      const text = this.#item(one);
      const size = Buffer.byteLength(text) + 1;
      if (batch.length === MAX_ITEMS || bytes + size > MAX_BODY_BYTES - 64) await send();
      batch.push(text);
      bytes += size;
    }
    await send();
    return results;
  }

  // Sealing and opening leave nothing behind at the vault, so a request whose answer was lost, or
  // that came at a bad moment, is made once more.
  async #request(path, body) {
    const end = Date.now() + this.#deadlineMs;
    for (let attempt = 1; ; ++attempt) {
      let failure;
      try {
        const answer = await this.#send(path, body, end - Date.now());
        if (answer.status === 200) return answer.json;
        failure = errorOf(answer.json.error, { status: answer.status, requestId: answer.json.error?.request_id });
      } catch (error) {
        if (error instanceof StrongroomError) throw error;
        failure = new StrongroomError('unavailable', `no answer from the vault: ${error.code ?? error.name}`);
      }
      const mayHelp = failure.code === 'unavailable' && attempt === 1;
      if (!mayHelp || end - Date.now() <= RETRY_AFTER_MS) throw failure;
      await new Promise((resolve) => { setTimeout(resolve, RETRY_AFTER_MS); });
    }
  }

  #send(path, body, milliseconds) {
    return new Promise((resolve, reject) => {
      const request = https.request(new URL(path, this.#url), {
        method: 'POST',
        agent: this.#agent,
        headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
        signal: AbortSignal.timeout(Math.max(1, milliseconds)),
      }, (response) => {
        const chunks = [];
        let bytes = 0;
        response.on('data', (chunk) => {
          bytes += chunk.length;
          if (bytes > MAX_ANSWER_BYTES) request.destroy(errorOf({ code: 'internal', message: 'the answer is too large' }));
          else chunks.push(chunk);
        });
        response.on('error', reject);
        response.on('end', () => {
          try {
            resolve({ status: response.statusCode, json: JSON.parse(Buffer.concat(chunks).toString('utf8')) });
          } catch {
            reject(errorOf(undefined, { status: response.statusCode }));
          }
        });
      });
      request.on('error', reject);
      request.end(body);
    });
  }
}
