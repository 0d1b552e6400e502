// The Node client against a real vault. node_client_test.py starts the house and says where it is.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, copyFileSync, readFileSync } from 'node:fs';
import https from 'node:https';
import net from 'node:net';
import { after, test } from 'node:test';

import { Strongroom, StrongroomError } from '../../vault/node/strongroom.mjs';

const { vaultPort, kmsPort, kmsPid, pki } = JSON.parse(process.env.STRONGROOM_HOUSE);
const url = `https://127.0.0.1:${vaultPort}`;
const files = (name) => ({ ca: `${pki}/ca.crt`, certificate: `${pki}/${name}.crt`, key: `${pki}/${name}.key` });
const app = new Strongroom({ url, ...files('app'), context: 'accounts.credentials', deadlineMs: 30000 });
after(() => app.close());

const secret = { access_token: 'not-a-token', scopes: ['a', 'b'], nested: { n: 1.5, u: 'ü🔑', none: null } };
const failsWith = (code) => (error) => error instanceof StrongroomError && error.code === code;

async function rotateMasterKey() {
  const { ca, certificate, key } = files('operator');
  const request = https.request({
    host: '127.0.0.1', port: kmsPort, method: 'POST', path: '/v1/keys/alias/credentials/rotate',
    ca: readFileSync(ca), cert: readFileSync(certificate), key: readFileSync(key),
  });
  request.end();
  const [response] = await once(request, 'response');
  response.resume();
  await once(response, 'end');
  assert.equal(response.statusCode, 200);
}

test('two calls: what was encrypted is decrypted', async () => {
  const sealed = await app.encryptCredentials(secret);
  assert.equal(sealed.__enc, 2);
  assert.ok(!JSON.stringify(sealed).includes('not-a-token'));
  assert.deepEqual(await app.decryptCredentials(sealed), secret);
  assert.deepEqual(await app.decryptCredentials(JSON.stringify(sealed)), secret, 'kept as text');
  assert.deepEqual(await app.encryptCredentials(sealed), sealed, 'not sealed twice');
  for (const value of ['text', 7, null, true, [], {}]) {
    assert.deepEqual(await app.decryptCredentials(await app.encryptCredentials(value)), value);
  }
});

test('another context does not open, another caller may not', async () => {
  const sealed = await app.encryptCredentials(secret, { context: 'accounts:42' });
  assert.deepEqual(await app.decryptCredentials(sealed, { context: 'accounts:42' }), secret);
  await assert.rejects(app.decryptCredentials(sealed, { context: 'accounts:43' }), failsWith('integrity_failure'));
  const operator = new Strongroom({ url, ...files('operator'), context: 'accounts:42' });
  await assert.rejects(operator.decryptCredentials(sealed), (error) =>
    failsWith('permission_denied')(error) && error.status === 403 && error.requestId.length === 36);
  operator.close();
});

test('many go in batches, each with its own result', async () => {
  const items = Array.from({ length: 230 }, (_, n) => ({ value: { n }, context: `row:${n}` }));
  const sealed = await app.sealMany(items);
  assert.equal(sealed.length, 230);
  assert.ok(sealed.every(({ state }) => state === 'sealed'));
  const moved = sealed.map(({ value }, n) => ({ value, context: n === 150 ? 'row:151' : `row:${n}` }));
  moved[10].value = { plain: true };
  const opened = await app.openMany(moved);
  assert.equal(opened[150].error.code, 'integrity_failure');
  assert.equal(opened[10].error.code, 'invalid_argument');
  opened.forEach((result, n) => { if (n !== 150 && n !== 10) assert.deepEqual(result.value, { n }); });
  assert.deepEqual(await app.openMany([]), []);
});

test('large values are divided by size', async () => {
  const patient = new Strongroom({ url, ...files('app'), context: 'large', deadlineMs: 30000 });
  const sealed = await patient.sealMany(Array.from({ length: 33 }, () => ({ value: 'x'.repeat(65000) })));
  assert.equal(sealed.length, 33);
  assert.equal((await patient.decryptCredentials(sealed[32].value)).length, 65000);
  await assert.rejects(patient.encryptCredentials('x'.repeat(65535)), failsWith('invalid_argument'));
  patient.close();
});

test('after a rotation open says reseal, and seal rewraps', async () => {
  const before = await app.seal(secret);
  await rotateMasterKey();
  assert.equal((await app.seal(secret)).key_version, before.key_version + 1);
  assert.equal((await app.open(before.value)).reseal, true);
  const anew = await app.seal(before.value);
  assert.equal(anew.state, 'rewrapped');
  assert.equal(anew.key_version, before.key_version + 1);
  assert.equal(anew.value.ct, before.value.ct);
  const opened = await app.open(anew.value);
  assert.deepEqual([opened.value, opened.sealed, opened.reseal], [secret, true, false]);
});

test('what is wrong is said before anything is sent', async () => {
  assert.throws(() => app.seal(undefined), TypeError);
  assert.throws(() => new Strongroom({ url: 'http://127.0.0.1', ...files('app') }), failsWith('invalid_argument'));
  const loose = `${pki}/loose.key`;
  copyFileSync(`${pki}/app.key`, loose);
  chmodSync(loose, 0o644);
  assert.throws(() => new Strongroom({ url, ...files('app'), key: loose }), failsWith('invalid_argument'));
  const nowhere = new Strongroom({ url, ...files('app') });
  await assert.rejects(nowhere.encryptCredentials(1), (error) => error.message.includes('"context"'));
  nowhere.close();
});

test('a vault that is not the right one, does not answer or is away is unavailable, within the deadline', async () => {
  const untrusted = new Strongroom({ url, ...files('app'), ca: `${pki}/app.crt`, context: 'c' });
  await assert.rejects(untrusted.encryptCredentials(secret), failsWith('unavailable'));
  untrusted.close();

  const sockets = [];
  const silent = net.createServer((socket) => { sockets.push(socket.on('error', () => {})); });
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const { port } = silent.address();
  const waiting = new Strongroom({ url: `https://127.0.0.1:${port}`, ...files('app'), context: 'c', deadlineMs: 150 });
  const begin = Date.now();
  await assert.rejects(waiting.encryptCredentials(secret), failsWith('unavailable'));
  assert.ok(Date.now() - begin < 5000);
  sockets.forEach((socket) => socket.destroy());
  silent.close();
  await once(silent, 'close');
  await assert.rejects(waiting.encryptCredentials(secret), (error) =>
    failsWith('unavailable')(error) && !error.message.includes('not-a-token'));
  waiting.close();
});

// The last: it takes the key service away.
test('without the key service nothing is sealed or opened', async () => {
  const sealed = await app.encryptCredentials(secret);
  process.kill(kmsPid, 'SIGKILL');
  await assert.rejects(app.decryptCredentials(sealed), (error) => failsWith('unavailable')(error) && error.status === 503);
  await assert.rejects(app.encryptCredentials(secret), (error) => failsWith('unavailable')(error) && error.status === 503);
});
