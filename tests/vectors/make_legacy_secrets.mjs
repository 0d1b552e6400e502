// Writes legacy_secrets.json: secrets as applications encrypted them by themselves, made with Node's
// own crypto in the ways that are met. Shares no code with the project. Every input is fixed, so the
// output is the same each time. Run: node make_legacy_secrets.mjs > legacy_secrets.json
import { createCipheriv, createHash, scryptSync } from 'node:crypto';

const fixed = (label, bytes) => createHash('sha512').update(`legacy ${label}`).digest().subarray(0, bytes);
const PLAIN = '{"access_token":"IGQVJ-not-a-token","n":1.50,"name":"Zo\u00eb"}';
const vectors = [];

function gcm(key, iv, plaintext, aad) {
  const cipher = createCipheriv('aes-256-gcm', key, iv);
  if (aad) cipher.setAAD(Buffer.from(aad));
  const data = Buffer.concat([cipher.update(plaintext, 'utf8'), cipher.final()]);
  return { iv, data, tag: cipher.getAuthTag() };
}

function cbc(key, iv, plaintext) {
  const cipher = createCipheriv('aes-256-cbc', key, iv);
  return { iv, data: Buffer.concat([cipher.update(plaintext, 'utf8'), cipher.final()]) };
}

const flip = (bytes, at) => {
  const changed = Buffer.from(bytes);
  changed[at < 0 ? changed.length + at : at] ^= 1;
  return changed;
};

// `held` is what the column has; `keys` the content of the key file.
function add(name, fields) {
  vectors.push({ name, bound: '', plaintext: PLAIN, expect: 'opens', ...fields });
}

// (a) Envelopes with a key ring.
const ring = { v1: fixed('ring v1', 32), v2: fixed('ring v2', 32) };
const ringText = JSON.stringify({ v1: ring.v1.toString('base64'), v2: ring.v2.toString('base64') });
function envelope(kid, parts, change = {}) {
  return { __enc: 1, kid, iv: parts.iv.toString('base64'),
    ct: Buffer.concat([parts.data, parts.tag]).toString('base64'), ...change };
}
const sealed = gcm(ring.v1, fixed('envelope iv', 12), PLAIN);
const asEnvelope = { format: 'envelope', keys: ringText, key_encoding: 'base64' };
add('envelope', { ...asEnvelope, held: envelope('v1', sealed) });
add('envelope as a text', { ...asEnvelope, held: JSON.stringify(envelope('v1', sealed)) });
add('envelope under the second key', { ...asEnvelope, held: envelope('v2', gcm(ring.v2, fixed('envelope iv 2', 12), PLAIN)) });
add('envelope with an IV of 16 bytes', { ...asEnvelope, held: envelope('v1', gcm(ring.v1, fixed('envelope iv 16', 16), PLAIN)) });
add('envelope with a key ring in lines', { ...asEnvelope, held: envelope('v1', sealed),
  keys: `v2:${ring.v2.toString('base64')}\nv1:${ring.v1.toString('base64')}\n` });
add('envelope with a key ring in one line', { ...asEnvelope, held: envelope('v1', sealed),
  keys: `v1=${ring.v1.toString('base64')},v2=${ring.v2.toString('base64')}` });
add('envelope bound to its row', { ...asEnvelope, bound: 'user:42', held: envelope('v1', gcm(ring.v1, fixed('bound iv', 12), PLAIN, 'user:42')) });
add('envelope bound to another row', { ...asEnvelope, bound: 'user:43', expect: 'fails', held: envelope('v1', gcm(ring.v1, fixed('bound iv', 12), PLAIN, 'user:42')) });
add('envelope that names the other key', { ...asEnvelope, expect: 'fails', held: envelope('v2', sealed) });
add('envelope that names no key of the ring', { ...asEnvelope, expect: 'fails', held: envelope('v3', sealed) });
add('envelope without a kid', { ...asEnvelope, expect: 'fails', held: envelope('', sealed) });
add('envelope of another version', { ...asEnvelope, expect: 'fails', held: envelope('v1', sealed, { __enc: 2 }) });
add('envelope flipped in the data', { ...asEnvelope, expect: 'fails', held: envelope('v1', { ...sealed, data: flip(sealed.data, 0) }) });
add('envelope flipped in the tag', { ...asEnvelope, expect: 'fails', held: envelope('v1', { ...sealed, tag: flip(sealed.tag, -1) }) });
add('envelope flipped in the IV', { ...asEnvelope, expect: 'fails', held: envelope('v1', { ...sealed, iv: flip(sealed.iv, 0) }) });
add('envelope shorter than a tag', { ...asEnvelope, expect: 'fails', held: envelope('v1', sealed, { ct: sealed.tag.subarray(1).toString('base64') }) });
add('envelope whose ct is no base64', { ...asEnvelope, expect: 'fails', held: envelope('v1', sealed, { ct: '*' }) });

// (b) AES-256-GCM in one field.
const key = fixed('gcm key', 32);
const parts = gcm(key, fixed('gcm iv', 12), PLAIN);
const asGcm = { format: 'gcm', keys: key.toString('base64'), key_encoding: 'base64' };
const LAYOUTS = ['iv:data+tag', 'iv:tag:data', 'iv:data:tag', 'iv+tag+data', 'iv+data+tag', 'tag+iv+data', 'data+tag+iv', 'iv.data+tag', 'tag$iv$data'];
for (const layout of LAYOUTS) {
  for (const encoding of ['hex', 'base64', 'base64url']) {
    const separator = layout.replace(/[a-z+]/g, '')[0] ?? '\0';
    const held = layout.split(separator).map((group) => Buffer.concat(group.split('+').map((part) => parts[part])).toString(encoding)).join(separator);
    add(`gcm ${layout} in ${encoding}`, { ...asGcm, layout, encoding, iv_bytes: 12, held });
  }
}
const hex = (values) => values.map((value) => value.toString('hex')).join(':');
add('gcm with an IV of 16 bytes', { ...asGcm, layout: 'iv:tag:data', encoding: 'hex', iv_bytes: 16,
  held: (({ iv, tag, data }) => hex([iv, tag, data]))(gcm(key, fixed('gcm iv 16', 16), PLAIN)) });
const asHex = { ...asGcm, layout: 'iv:tag:data', encoding: 'hex', iv_bytes: 12 };
add('gcm in upper case', { ...asHex, held: hex([parts.iv, parts.tag, parts.data]).toUpperCase() });
add('gcm with a key in hex', { ...asHex, keys: key.toString('hex'), key_encoding: 'hex', held: hex([parts.iv, parts.tag, parts.data]) });
add('gcm flipped', { ...asHex, expect: 'fails', held: hex([parts.iv, parts.tag, flip(parts.data, 3)]) });
add('gcm with another tag', { ...asHex, expect: 'fails', held: hex([parts.iv, flip(parts.tag, 0), parts.data]) });
add('gcm under another key', { ...asHex, expect: 'fails', keys: fixed('another', 32).toString('base64'), held: hex([parts.iv, parts.tag, parts.data]) });
add('gcm with a part too many', { ...asHex, expect: 'fails', held: `${hex([parts.iv, parts.tag, parts.data])}:00` });
add('gcm with a part missing', { ...asHex, expect: 'fails', held: hex([parts.iv, parts.data]) });
add('gcm with a short IV', { ...asHex, expect: 'fails', held: hex([parts.iv.subarray(1), parts.tag, parts.data]) });
add('gcm that is no text', { ...asHex, expect: 'fails', held: { iv: 1 } });

// (c) AES-256-CBC as iv:data in hex.
const asCbc = { format: 'cbc', layout: 'iv:data', encoding: 'hex', iv_bytes: 16 };
const word = 'not-a-real-key-of-32-characters!';
const KEYS = { text: Buffer.from(word), sha256: createHash('sha256').update(word).digest(),
  'sha256-base64': Buffer.from(createHash('sha256').update(word).digest('base64').substring(0, 32)),
  scrypt: scryptSync(word, 'salt', 32), hex: fixed('cbc key', 32) };
for (const [key_encoding, bytes] of Object.entries(KEYS)) {
  const { iv, data } = cbc(bytes, fixed(`cbc iv ${key_encoding}`, 16), PLAIN);
  add(`cbc with a key as ${key_encoding}`, { ...asCbc, key_encoding, keys: key_encoding === 'hex' ? bytes.toString('hex') : `${word}\n`,
    salt: key_encoding === 'scrypt' ? 'salt' : '', held: hex([iv, data]) });
}
const block = cbc(KEYS.text, fixed('cbc iv', 16), 'sixteen bytes ok');
const asText = { ...asCbc, keys: word, key_encoding: 'text' };
add('cbc of a whole block', { ...asText, plaintext: 'sixteen bytes ok', held: hex([block.iv, block.data]) });
add('cbc as one base64', { ...asText, layout: 'iv+data', encoding: 'base64', plaintext: 'sixteen bytes ok',
  held: Buffer.concat([block.iv, block.data]).toString('base64') });
add('cbc of nothing but padding', { ...asText, plaintext: '', held: (({ iv, data }) => hex([iv, data]))(cbc(KEYS.text, fixed('cbc iv empty', 16), '')) });
add('cbc cut within a block', { ...asText, expect: 'fails', held: hex([block.iv, block.data.subarray(0, 31)]) });
add('cbc without its last block', { ...asText, expect: 'fails', held: hex([block.iv, block.data.subarray(0, 16)]) });
add('cbc without data', { ...asText, expect: 'fails', held: `${block.iv.toString('hex')}:` });
add('cbc with broken padding', { ...asText, expect: 'fails', held: hex([block.iv, flip(block.data, 15)]) });

console.log(JSON.stringify({
  format: 'secrets as applications encrypted them by themselves; drawn in vault/import/old_format.h',
  source: 'made by make_legacy_secrets.mjs with Node\'s crypto; checked by tests/vault/import_test.cpp',
  fields: 'keys is the content of the key file, held what the column has; expect is "opens" or "fails"; plaintext is what a vector that opens gives',
  vectors,
}, undefined, 1));
