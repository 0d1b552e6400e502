#!/usr/bin/env python3
"""Judges an audit log from its files and a public key: a second opinion on `kmsctl audit verify`, with no code of ours in
common: Python's own library, and OpenSSL's libcrypto for signatures. The exit codes are the same. Formats: RFC 6962
(tree), C2SP signed-note, tlog-checkpoint, tlog-tiles.   usage: audit_verifier.py FOLDER PUBLIC_KEY.pem [FIRST LAST]"""
import base64
import ctypes
import functools
import gzip
import hashlib
import json
import pathlib
import re
import sys

CLEAN, TAMPERED, INCONSISTENT, CUT_OFF, DASH = 0, 2, 3, 4, "\u2014 "


crypto = ctypes.CDLL("libcrypto.so.3")
for name in ("d2i_PUBKEY", "EVP_MD_CTX_new", "EVP_sha256"):
    getattr(crypto, name).restype = ctypes.c_void_p


def verifies(spki, is_ed25519, text, signature):
    """EVP_DigestVerify of OpenSSL 3."""
    der = ctypes.c_char_p(spki)
    key = ctypes.c_void_p(crypto.d2i_PUBKEY(None, ctypes.byref(der), ctypes.c_long(len(spki))))
    context = ctypes.c_void_p(crypto.EVP_MD_CTX_new())
    digest = None if is_ed25519 else ctypes.c_void_p(crypto.EVP_sha256())
    try:
        assert key and crypto.EVP_DigestVerifyInit(context, None, digest, None, key) == 1
        return crypto.EVP_DigestVerify(context, signature, ctypes.c_size_t(len(signature)), text, ctypes.c_size_t(len(text))) == 1
    finally:
        crypto.EVP_MD_CTX_free(context)
        crypto.EVP_PKEY_free(key)


class Key:
    def __init__(self, pem):
        self.spki = base64.b64decode("".join(line for line in pem.split("\n") if "-----" not in line))
        self.is_ed25519 = self.spki.startswith(bytes.fromhex("302a300506032b6570032100"))
        p256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
        assert self.is_ed25519 or self.spki.startswith(p256), "neither Ed25519 nor P-256"

    def key_id(self, name):
        named = name.encode() + b"\n\x01" + self.spki[12:] if self.is_ed25519 else self.spki
        return hashlib.sha256(named).digest()[:4]

    @functools.lru_cache(maxsize=100_000)
    def open(self, note):
        """(origin, size, root) of a signed checkpoint, or None."""
        try:
            text, signatures = note.decode().rsplit("\n\n", 1)
            origin, size, root = text.split("\n")[:3]
            lines, hashed = signatures.split("\n"), base64.b64decode(root, validate=True)
            if lines.pop() or not lines or not origin or str(int(size)) != size or len(hashed) != 32:
                return None
            good = False
            for line in lines:
                dash, name, value = line.split(" ")
                signature = base64.b64decode(value, validate=True)
                if dash + " " != DASH or base64.b64encode(signature).decode() != value:
                    return None
                if name == origin and signature[:4] == self.key_id(name):
                    good = verifies(self.spki, self.is_ed25519, (text + "\n").encode(), signature[4:])
                    if not good:
                        return None
            return (origin, int(size), hashed) if good and base64.b64encode(hashed).decode() == root else None
        except (ValueError, UnicodeDecodeError):
            return None


def split_notes(text):
    notes, note, block = [], 0, 0
    while (end := text.find(b"\n\n", block)) >= 0:
        if text.startswith(DASH.encode(), block):
            notes.append(text[note:end + 1])
            note = end + 2
        block = end + 2
    return notes


def leaf_hash(line):
    return hashlib.sha256(b"\0" + line).digest()


def roots_at(leaves, sizes):
    """{size: root} for those sizes that the tree reaches."""
    edge, found = [], {}
    for count in range(len(leaves) + 1):
        if count:
            edge.append(leaves[count - 1])
            for _ in range((count & -count).bit_length() - 1):  # as many as complete with this leaf
                right = edge.pop()
                edge[-1] = hashlib.sha256(b"\1" + edge[-1] + right).digest()
        if count in sizes:
            found[count] = functools.reduce(lambda right, left: hashlib.sha256(b"\1" + left + right).digest(),
                                            reversed(edge)) if edge else hashlib.sha256(b"").digest()
    return found


def tile_leaves(folder, size):
    """The first `size` leaf hashes by the tiles, or None."""
    leaves = []
    for tile in range((size + 255) // 256):
        groups = re.findall("...", str(tile).zfill((len(str(tile)) + 2) // 3 * 3))
        path = folder / "tile" / "0" / "/".join(["x" + group for group in groups[:-1]] + groups[-1:])
        wide = min(256, size - 256 * tile)
        for candidate in [path] + [path.parent / f"{path.name}.p" / str(w) for w in range(wide, 256)]:
            data = candidate.read_bytes() if candidate.is_file() else b""
            if len(data) >= 32 * wide:
                break
        else:
            return None
        leaves += [data[32 * i:32 * i + 32] for i in range(wide)]
    return leaves


def read_lines(folder):
    closed = {}
    for path in folder.glob("audit-*.jsonl*"):
        if match := re.fullmatch(r"audit-(\d+)\.jsonl(\.gz)?", path.name):
            closed.setdefault(int(match[1]), []).append(path)
    paths = [min(closed[first], key=lambda path: len(path.name)) for first in sorted(closed)]
    lines = []
    for path in paths + [folder / "audit.jsonl"] * (folder / "audit.jsonl").exists():
        parts = (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).split(b"\n")
        torn = parts.pop()
        lines += parts + [torn] * (torn != b"" and path.name != "audit.jsonl")
    return lines


def chain_fault(lines, leaves, first):
    """The sequence number of the first line, from leaf `first` on, that has not its number or does not follow."""
    def follows(i):
        before = leaves[i - 1].hex() if i else "0" * 64
        return lines[i] is None or lines[i].endswith(b',"previous":"%s"}' % before.encode())
    for i in range(first, len(lines)):
        if lines[i] is not None and not lines[i].startswith(b'{"sequence":%d,' % (i + 1)):
            return i + 1
        if not follows(i):
            return i + 1 if i == 0 or (i + 1 < len(lines) and not follows(i + 1)) else i
    return 0


def judge_period(lines, told, first, last):
    """As judge(), of the records from number `first` to `last`, by what the tiles told."""
    bad, expected, begin, pruned, before, broken = [], 0, 0, 0, None, False
    for line in lines:
        match = re.match(rb'\{"sequence":(\d{1,18}),', line)
        number, leaf = int(match[1]) if match else 0, leaf_hash(line)
        begin, expected = begin or max(1, number), expected or max(1, number)
        chained = number == expected and (line.endswith(b'"%s"}' % before) if before else number == 1)
        if number < expected or not (told[number - 1] == leaf if number <= len(told) else chained):
            bad.append((expected, expected + 1))
            broken = True
            continue
        bad += [(expected, number)] * (number != expected)
        pruned = max(pruned, int(json.loads(line)["facts"]["through"]) if b'"action":"audit_prune"' in line else 0)
        expected, before, broken = number + 1, leaf.hex().encode(), False
    if broken and expected > len(told):  # nothing behind it is proven
        bad.append((expected, sys.maxsize))
    bad = [max(first, begin_bad) for begin_bad, end in bad if max(first, begin_bad) < end and max(first, begin_bad) <= last]
    if first < begin and pruned + 1 < begin:
        bad.insert(0, first)
    cut = max(1, expected) <= min(last, len(told)) or first >= max(1, expected)
    return (TAMPERED, bad[0]) if bad else (CUT_OFF, max(1, expected)) if cut else (CLEAN, 0)


def judge(folder, key, period=None):
    """(exit code, sequence number of the first record that is not proven good or 0)."""
    folder, roots, origins = pathlib.Path(folder), {}, set()
    notes = split_notes((folder / "checkpoints").read_bytes()) if (folder / "checkpoints").exists() else []
    notes += [(folder / "checkpoint").read_bytes()] if (folder / "checkpoint").exists() else []
    for opened in map(key.open, notes):
        if not opened or roots.setdefault(opened[1], opened[2]) != opened[2]:
            return INCONSISTENT, 0
        origins.add(opened[0])
    if len(origins) != 1:
        return INCONSISTENT, 0
    last, lines, pruned = max(roots), read_lines(folder), 0
    if period and (told := tile_leaves(folder, last)) and (by_tiles := roots_at(told, roots))[last] == roots[last]:
        return judge_period(lines, told, *period) if by_tiles == roots else (INCONSISTENT, 0)
    first = re.match(rb'\{"sequence":(\d{1,18}),', lines[0]) if lines else None
    if first and 0 < int(first[1]) - 1 <= last and (gone := tile_leaves(folder, last)):
        gone = gone[:int(first[1]) - 1]
        stated = [json.loads(line)["facts"]["through"] for line in lines if b'"action":"audit_prune"' in line]
        if max(map(int, stated), default=0) < len(gone):
            return TAMPERED, 1
        pruned, lines = len(gone), [None] * len(gone) + lines
    leaves = (gone if pruned else []) + [leaf_hash(line) for line in lines[pruned:]]
    found = roots_at(leaves, roots)
    if found.get(last) == roots[last]:
        fault = chain_fault(lines, leaves, last)
        behind = period and period[0] > len(leaves)
        good = (CUT_OFF, len(leaves) + 1) if behind else (CLEAN, 0)
        return (INCONSISTENT, 0) if found != roots else (TAMPERED, max(fault, last + 1)) if fault else good
    if (told := tile_leaves(folder, last)) and (by_tiles := roots_at(told, roots))[last] == roots[last]:
        if by_tiles != roots:
            return INCONSISTENT, 0
        for i, leaf in enumerate(leaves):
            if i == last or leaf != told[i]:
                return TAMPERED, i + 1
        return CUT_OFF, len(leaves) + 1
    good = max((size for size in found if found[size] == roots[size]), default=0)
    fault = chain_fault(lines, leaves, 0)
    cut = not fault and all(found[size] == roots[size] for size in found)
    return (CUT_OFF, len(leaves) + 1) if cut else (TAMPERED, max(fault, good + 1))


if __name__ == "__main__":
    code, first_bad = judge(sys.argv[1], Key(pathlib.Path(sys.argv[2]).read_text()), [int(n) for n in sys.argv[3:5]])
    print(json.dumps({"exit_code": code, "first_bad": first_bad or None}))
    sys.exit(code)
