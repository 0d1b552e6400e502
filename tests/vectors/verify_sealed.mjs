// Opens every vector of sealed_credential_v2.json, _v3.json and sealed_value_v2.json with Node's own
// cryptography: an implementation of the format that shares no code with vault/sealed.cpp. Written
// from the drawing in vault/sealed.h. Run: node verify_sealed.mjs [vectors.json ...]
import { createDecipheriv, createHash, hkdfSync, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';

const given = process.argv.slice(2);
const files = given.length ? given
  : ['sealed_credential_v2.json', 'sealed_credential_v3.json', 'sealed_value_v2.json'].map((name) => new URL(name, import.meta.url));

function requireFields(object, fields, what) {
  const surplus = Object.keys(object).filter((name) => !fields.includes(name));
  const missing = fields.filter((name) => !(name in object));
  if (surplus.length || missing.length) throw new Error(`${what}: surplus [${surplus}], missing [${missing}]`);
}

function bytes(text) {
  const decoded = Buffer.from(text, 'base64');
  if (decoded.toString('base64') !== text) throw new Error('base64 is not canonical');
  return decoded;
}

function lengthPrefixed(text, lengthBytes = 2) {
  const utf8 = Buffer.from(text, 'utf8');
  const length = Buffer.alloc(lengthBytes);
  length.writeUIntBE(utf8.length, 0, lengthBytes);
  return Buffer.concat([length, utf8]);
}

function big(value) {
  const number = Buffer.alloc(8);
  number.writeBigInt64BE(BigInt(value));
  return number;
}

function attributesOf({ created_at: createdAt, updated_at: updatedAt, first_version: firstVersion, metadata, tags }) {
  const names = Object.keys(tags).sort((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)));
  return createHash('sha256').update(Buffer.concat([
    Buffer.from('SRsa'), Buffer.from([3]), big(createdAt), big(updatedAt), big(firstVersion), lengthPrefixed(metadata, 4),
    Buffer.from([names.length >> 8, names.length & 0xff]),
    ...names.flatMap((name) => [lengthPrefixed(name), lengthPrefixed(tags[name])]),
  ])).digest();
}

function associatedData({ owner, credential, version, context, created_at: createdAt, expires_at: expiresAt,
  restored_from: restoredFrom, whole }, attributes) {
  if (whole !== undefined) {
    return Buffer.concat([
      Buffer.from('SRsc'), Buffer.from([3]), lengthPrefixed(owner), lengthPrefixed(credential), big(version),
      big(createdAt), Buffer.from([expiresAt === undefined ? 0 : 1]), big(expiresAt ?? 0), big(restoredFrom ?? 0),
      attributes,
    ]);
  }
  if (context !== undefined) {
    return Buffer.concat([Buffer.from('SRsv'), Buffer.from([2]), lengthPrefixed(owner), lengthPrefixed(context)]);
  }
  const number = Buffer.alloc(8);
  number.writeBigUInt64BE(BigInt(version));
  return Buffer.concat([Buffer.from('SRsc'), Buffer.from([2]), lengthPrefixed(owner), lengthPrefixed(credential), number]);
}

function open(binding, dataKey, sealed) {
  const format = binding.whole === undefined ? 2 : 3;
  requireFields(sealed, ['__enc', 'kid', 'dek', 'kc', 'iv', ...(format === 3 ? ['attributes'] : []), 'ct'], 'sealed');
  if (sealed.__enc !== format) throw new Error(`not version ${format}`);
  const dek = bytes(sealed.dek);
  const hex = dek.subarray(6, 22).toString('hex');
  const id = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
  if (dek.toString('latin1', 0, 4) !== 'SRdk' || dek[4] !== 1) throw new Error('dek is no wrapped data key');
  if (sealed.kid !== `${id}/${dek.readUInt32BE(22)}`) throw new Error('kid and dek differ');
  const derive = (info) => Buffer.from(hkdfSync('sha512', dataKey, 'strongroom sealed credential 2', info, 32));
  const commitment = bytes(sealed.kc);
  if (commitment.length !== 32 || !timingSafeEqual(commitment, derive('key commitment'))) throw new Error('kc differs');
  const iv = bytes(sealed.iv);
  if (iv.length !== 12) throw new Error('iv has another length');
  const ct = bytes(sealed.ct);
  const gcm = createDecipheriv('aes-256-gcm', derive('record key'), iv, { authTagLength: 16 });
  const attributes = format === 3 ? bytes(sealed.attributes) : undefined;
  if (format === 3 && !attributes.equals(attributesOf(binding.whole))) throw new Error('attributes differ');
  gcm.setAAD(associatedData(binding, attributes));
  gcm.setAuthTag(ct.subarray(ct.length - 16));
  return Buffer.concat([gcm.update(ct.subarray(0, ct.length - 16)), gcm.final()]).toString('utf8');
}

let wrong = 0;
let seen = 0;
for (const vector of files.flatMap((file) => JSON.parse(readFileSync(file, 'utf8')).vectors)) {
  const optional = ['expires_at', 'restored_from'].filter((name) => name in vector);
  const place = 'context' in vector ? ['context']
    : ['credential', 'version', ...('whole' in vector ? ['created_at', ...optional, 'whole'] : [])];
  requireFields(vector, ['name', 'expect', 'owner', ...place, 'data_key', 'plaintext', 'sealed'], vector.name);
  let outcome;
  try {
    const plaintext = open(vector, Buffer.from(vector.data_key, 'hex'), vector.sealed);
    outcome = plaintext === vector.plaintext ? 'opens' : 'another plaintext';
  } catch (error) {
    outcome = 'integrity_failure';
  }
  if (outcome !== vector.expect) {
    console.error(`${vector.name}: expected ${vector.expect}, got ${outcome}`);
    ++wrong;
  }
  ++seen;
}
console.log(`${seen} vectors, ${wrong} wrong`);
process.exit(wrong === 0 && seen > 0 ? 0 : 1);
