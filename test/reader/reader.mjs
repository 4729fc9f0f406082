// Written from FORMAT.md alone: it shares no line with ibackup. Restores a backup of a repository:
//   bun reader.mjs FOLDER BACKUP_ID TARGET [IDENTITY_FILE]
import { Buffer } from "node:buffer";
import { createDecipheriv, createHash, createPublicKey, hkdfSync, verify } from "node:crypto";
import * as fs from "node:fs";
import { argv } from "node:process";
import { zstdDecompressSync } from "node:zlib";
import { Decrypter } from "age-encryption";

const [folder, wanted, target, identityFile] = argv.slice(2);
const sha256 = (bytes, form = "hex") => createHash("sha256").update(bytes).digest(form);
const must = (isSo, what) => {
  if (!isSo) throw new Error(`damaged: ${what}`);
};

// section 3: documents
function readDocument(kind, key) {
  const bytes = fs.readFileSync(`${folder}/${key}`);
  const end = bytes.indexOf(10) + 1;
  const body = bytes.subarray(end);
  must(bytes.subarray(0, end - 1).toString() === `ibackup-${kind} 1 ${sha256(body)}`, key);
  return { key, sha256: sha256(bytes), body, ...JSON.parse(body.toString()) };
}

const bodyUpTo = (body, field) => body.subarray(0, body.indexOf(`\n  "${field}": `) + 1);

// section 3.4: keys
async function decrypt(file, identities) {
  const age = new Decrypter();
  for (const identity of identities) age.addIdentity(identity);
  return await age.decrypt(file).catch(() => undefined);
}

async function repositoryIdentities(repositoryId) {
  const own = fs.readFileSync(identityFile, "utf8").match(/AGE-SECRET-KEY-1\w{58}/g);
  const opened = [];
  for (const edition of fs.readdirSync(`${folder}/keys`)) {
    for (const slot of fs.readdirSync(`${folder}/keys/${edition}`)) {
      const key = readDocument("key", `keys/${edition}/${slot}`);
      if (key.repositoryId !== repositoryId) continue;
      const identity = await decrypt(Buffer.from(key.wrapped, "base64"), own);
      if (identity) opened.push(Buffer.from(identity).toString());
    }
  }
  return opened;
}

// section 4: sealing
const repository = readDocument("repository", "repository");
const isSealed = repository.encryption === "age";
const identities = isSealed ? await repositoryIdentities(repository.id) : [];
const context = (kind) => Buffer.from(`ibackup ${kind} ${repository.id}`);

async function objectKey(kind, salt, wrappedKey) {
  const dataKey = await decrypt(wrappedKey, identities);
  must(dataKey, `no identity opens this ${kind}`);
  return Buffer.from(hkdfSync("sha256", dataKey, salt, context(kind), 32));
}

function open(key, kind, place, sealed, publicPart = Buffer.alloc(0)) {
  const nonce = Buffer.alloc(12);
  nonce.writeUIntBE(place, 6, 6);
  const cipher = createDecipheriv("aes-256-gcm", key, nonce).setAuthTag(sealed.subarray(-16));
  cipher.setAAD(Buffer.concat([context(kind), Buffer.of(0), publicPart]));
  return Buffer.concat([cipher.update(sealed.subarray(0, -16)), cipher.final()]);
}

// section 5: records
function* readRecords(bytes, count, packs) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  for (let i = 0; i < count; i++) {
    const record = { kind: bytes[at++], extents: [] };
    if (record.kind !== 0) {
      [record.pack, record.offset, record.size] = [packs[varint()], varint(), varint()];
      record.digest = bytes.subarray(at, at + 16);
      at += 16;
    }
    let end = -1;
    for (let left = varint(); left > 0; left--) {
      const first = end + varint();
      end = first + varint();
      record.extents.push([first, end]);
    }
    yield record;
  }
  must(at === bytes.length, "records");
}

// section 6: index objects
async function readIndex({ name, sizeBytes }) {
  const bytes = fs.readFileSync(`${folder}/indexes/${name}`);
  must(sha256(bytes) === name && bytes.length === sizeBytes, `index ${name}`);
  must(bytes.subarray(0, 6).toString() === "IBINDX" && bytes.readUInt16LE(6) === 1, name);
  const [packCount, recordCount] = [bytes.readUInt32LE(12), bytes.readUInt32LE(16)];
  const table = 62 + bytes.readUInt16LE(28);
  const body = table + packCount * 36;
  let stored = bytes.subarray(body);
  if (isSealed) {
    const key = await objectKey("index", bytes.subarray(30, 62), bytes.subarray(62, table));
    stored = open(key, "index", 0, stored, bytes.subarray(0, body));
  }
  const unpacked = zstdDecompressSync(stored);
  const packs = Array.from({ length: packCount }, (_, i) => ({
    name: bytes.subarray(table + i * 36, table + i * 36 + 32).toString("hex"),
    key: isSealed ? unpacked.subarray(i * 32, i * 32 + 32) : undefined,
  }));
  return readRecords(unpacked.subarray(isSealed ? packCount * 32 : 0), recordCount, packs);
}

// section 7: frames of packs
function readFrame({ kind, pack, offset, size, digest, extents }, blockBytes) {
  const stored = Buffer.alloc(size);
  const file = fs.openSync(`${folder}/packs/${pack.name.slice(0, 2)}/${pack.name}`, "r");
  fs.readSync(file, stored, 0, size, offset);
  fs.closeSync(file);
  must(sha256(stored, "buffer").subarray(0, 16).equals(digest), `pack ${pack.name} at ${offset}`);
  const opened = isSealed ? open(pack.key, "pack", offset, stored) : stored;
  const raw = kind === 2 ? zstdDecompressSync(opened) : opened;
  const blocks = extents.reduce((sum, [first, past]) => sum + past - first, 0);
  must(raw.length === blocks * blockBytes, `pack ${pack.name} at ${offset}`);
  return raw;
}

// section 3.6: what a backup continues since others were removed
function withMap(manifest, path) {
  if (!fs.existsSync(`${folder}/${path}`)) return manifest;
  const map = readDocument("map", `${path}/${fs.readdirSync(`${folder}/${path}`).sort().at(-1)}`);
  must(map.manifestSha256 === manifest.sha256, map.key);
  const { parentId, parentSha256, indexes } = map;
  return checkSignature(map) ?? { ...manifest, parentId, parentSha256, indexes };
}

// section 8: the chain, and the disk
function chainOf(id) {
  const all = fs
    .readdirSync(`${folder}/manifests`)
    .flatMap((tag) => fs.readdirSync(`${folder}/manifests/${tag}`).map((it) => `${tag}/${it}`))
    .map((path) => withMap(readDocument("manifest", `manifests/${path}`), `maps/${path}`));
  const chain = [];
  for (let next = id; next !== null; next = chain[0].parentId) {
    const found = all.find(({ backupId }) => backupId === next);
    must(found && (chain[0]?.parentSha256 ?? found.sha256) === found.sha256, `backup ${next}`);
    chain.unshift(found);
  }
  return chain;
}

function checkSignature({ body, key: object, writer, signature }) {
  if (writer === null) return;
  const x = Buffer.from(writer, "base64").toString("base64url");
  const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
  const isGood = verify(null, bodyUpTo(body, "signature"), key, Buffer.from(signature, "base64"));
  must(isGood, `the signature of ${object}`);
}

async function checkDetails({ body, seal, details }) {
  if (seal === null) return;
  const [salt, wrapped] = [seal.salt, seal.wrappedKey].map((it) => Buffer.from(it, "base64"));
  const key = await objectKey("manifest", salt, wrapped);
  const part = bodyUpTo(body, "details");
  JSON.parse(open(key, "manifest", 0, Buffer.from(details, "base64"), part).toString());
}

const chain = chainOf(wanted);
const { blockBytes, blockCount, disk } = chain.at(-1);
const records = [];
for (const manifest of chain) {
  checkSignature(manifest);
  await checkDetails(manifest);
  for (const index of manifest.indexes) records.push(...(await readIndex(index)));
}
const output = fs.openSync(target, "wx");
fs.ftruncateSync(output, disk.sizeBytes);
// Windows are for readers that want to spare memory.
const owner = new Int32Array(blockCount).fill(-1);
records.forEach(({ extents }, number) => {
  for (const [first, past] of extents) owner.fill(number, first, past);
});
must(!owner.includes(-1), "a block that nobody speaks of");
for (const number of new Set(owner)) {
  const record = records[number];
  if (record.kind === 0) continue;
  const raw = readFrame(record, blockBytes);
  let at = 0;
  for (const [first, past] of record.extents) {
    for (let block = first; block < past; block++, at += blockBytes) {
      const length = Math.min(blockBytes, disk.sizeBytes - block * blockBytes);
      if (owner[block] === number) fs.writeSync(output, raw, at, length, block * blockBytes);
    }
  }
}
