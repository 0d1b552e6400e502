#!/usr/bin/env python3
"""Judges an audit log from its files and a public key: a second opinion on `kmsctl audit verify`, with no code of ours in
common: Python's own library, and OpenSSL's libcrypto for signatures. The exit codes are the same. Formats: RFC 6962
(tree), C2SP signed-note, tlog-checkpoint, tlog-tiles. usage: audit_verifier.py FOLDER KEY.pem [FROM TO [CHECKPOINT ...]]"""
import base64, contextlib, ctypes, functools, hashlib, itertools, json, pathlib, re, struct, sys, zlib  # noqa: E401

CLEAN, TAMPERED, INCONSISTENT, CUT_OFF, DASH = 0, 2, 3, 4, "\u2014 "
crypto = ctypes.CDLL("libcrypto.so.3")
for name in ("d2i_PUBKEY", "EVP_MD_CTX_new", "EVP_sha256"): getattr(crypto, name).restype = ctypes.c_void_p

def verifies(spki, is_ed25519, text, signature):
    """EVP_DigestVerify of OpenSSL 3. What it takes for each note ends with the process."""
    key = ctypes.c_void_p(crypto.d2i_PUBKEY(None, ctypes.byref(ctypes.c_char_p(spki)), ctypes.c_long(len(spki))))
    context, digest = ctypes.c_void_p(crypto.EVP_MD_CTX_new()), None if is_ed25519 else ctypes.c_void_p(crypto.EVP_sha256())
    assert key and crypto.EVP_DigestVerifyInit(context, None, digest, None, key) == 1
    return crypto.EVP_DigestVerify(context, signature, ctypes.c_size_t(len(signature)), text, ctypes.c_size_t(len(text))) == 1

class Key:
    def __init__(self, pem):
        self.spki = base64.b64decode("".join(line for line in pem.split("\n") if "-----" not in line))
        known = ("302a300506032b6570032100", "3059301306072a8648ce3d020106082a8648ce3d03010703420004")
        assert self.spki.hex().startswith(known), "neither Ed25519 nor P-256"
        self.is_ed25519 = self.spki.hex().startswith(known[0])

    @functools.lru_cache(maxsize=100_000)
    def open(self, note):
        """(origin, size, root) of a signed checkpoint, or None."""
        with contextlib.suppress(ValueError):
            text, signatures = note.decode().rsplit("\n\n", 1)
            origin, size, root = text.split("\n")[:3]
            lines, hashed = signatures.split("\n"), base64.b64decode(root, validate=True)
            if lines.pop() or not lines or not origin or str(int(size)) != size or len(hashed) != 32: return None
            judged = []
            for line in lines:
                dash, name, value = line.split(" ")
                signature = base64.b64decode(value, validate=True)
                if dash + " " != DASH or base64.b64encode(signature).decode() != value: return None
                named = name.encode() + b"\n\x01" + self.spki[12:] if self.is_ed25519 else self.spki
                if name == origin and signature[:4] == hashlib.sha256(named).digest()[:4]:
                    judged.append(verifies(self.spki, self.is_ed25519, (text + "\n").encode(), signature[4:]))
            good = judged and all(judged) and base64.b64encode(hashed).decode() == root
            return (origin, int(size), hashed) if good else None

def split_notes(text):
    notes, note, block = [], 0, 0
    while (end := text.find(b"\n\n", block)) >= 0:
        if text.startswith(DASH.encode(), block):
            notes.append(text[note:end + 1])
            note = end + 2
        block = end + 2
    return notes

def leaf_hash(line): return hashlib.sha256(b"\0" + line).digest()
def node_hash(right, left): return hashlib.sha256(b"\1" + left + right).digest()
def number_of(line): return int(match[1]) if (match := re.match(rb'\{"sequence":(\d{1,18}),', line)) else 0
def time_of(line): return match[1] if (match := re.match(rb'\{"sequence":\d{1,18},"time":"([^"]+)Z"', line)) else b""
def end_of_period(text): return int(text) if text.isdigit() else text.rstrip("Z").encode()

def roots_at(leaves, sizes):
    """{size: root} for those sizes that the tree reaches."""
    edge, found = [], {0: hashlib.sha256(b"").digest()} if 0 in sizes else {}
    for count, leaf in enumerate(leaves, 1):
        edge.append(leaf)
        for _ in range((count & -count).bit_length() - 1):  # as many as complete with this leaf
            edge.append(node_hash(edge.pop(), edge.pop()))
        if count in sizes: found[count] = functools.reduce(node_hash, reversed(edge))
    return found

def tile_leaves(folder, size):
    """The first `size` leaf hashes by the tiles; none unless all are there."""
    leaves = []
    for tile in range((size + 255) // 256):
        groups = re.findall("...", str(tile).zfill((len(str(tile)) + 2) // 3 * 3))
        path = folder / "tile" / "0" / "/".join(["x" + group for group in groups[:-1]] + groups[-1:])
        wide = min(256, size - 256 * tile)
        files = [path] + [path.parent / f"{path.name}.p" / str(w) for w in range(wide, 256)]
        data = next((data for file in files if file.is_file() and len(data := file.read_bytes()) >= 32 * wide), b"")
        leaves += [data[32 * i:32 * i + 32] for i in range(wide) if data]
    return leaves if len(leaves) == size else []

def journal_lines(folder):
    """{number: line} of audit.journal: in frames that follow one another (server/audit_journal.h)."""
    path, kept, at, follows = folder / "audit.journal", b"", 0, None
    data = path.read_bytes()[:2 << 20] if path.exists() else b""
    while data[at:at + 8] == b"SRjrnl\0\1" and len(data) >= at + 80:
        segment, offset, size = struct.unpack(">QQQ", data[at + 24:at + 48])
        end, follows_on = at + 48 + size, follows in (None, (segment, offset))
        if not size or not follows_on or hashlib.sha256(data[at:end]).digest() != data[end:end + 32]: break
        kept, follows, at = kept + data[at + 48:end], (segment, offset + size), end + 32
    return {number_of(line): line for line in kept.split(b"\n")[:-1] if number_of(line)}

def content(path):
    """Of a segment, as far as it can be read, and whether that is all of it."""
    unpacker, text, packed = zlib.decompressobj(31), b"", path.read_bytes()
    if path.suffix != ".gz": return packed, True
    with contextlib.suppress(zlib.error):
        for at in range(0, len(packed), 1 << 18):
            text += unpacker.decompress(packed[at:at + (1 << 18)])
    return text, unpacker.eof and not unpacker.unused_data

def read_lines(folder):
    """All lines; how many of them the journal alone has; numbers of those it has otherwise; whether no file is damaged."""
    journal, lines, last, other = journal_lines(folder), [], 0, set()
    closed = {int(match[1]): path for path in sorted(folder.glob("audit-*.jsonl*"), reverse=True)  # .gz before the plain one
              if (match := re.fullmatch(r"audit-(\d+)\.jsonl(\.gz)?", path.name))}
    for path in [closed[first] for first in sorted(closed)] + list(folder.glob("audit.jsonl")):
        (text, sound), grows = content(path), path.name == "audit.jsonl"
        *whole, torn = text.split(b"\n")
        for line in whole + [torn] * (torn != b"" and not grows and sound):
            if grows and journal and b"\0" in line: break  # a hole: the journal has what was there
            number = number_of(line) or last + 1
            other |= {number} if journal.get(number, line) != line else set()
            last = max(last, number)
            lines.append(line)
        if not sound: return lines, 0, other, False
    rest = [journal[number] for number in sorted(journal) if number > last]
    return lines + rest, len(rest), other, True

def pruned_through(line):
    """Up to which record retention removed them, when this line says so; else 0."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return int(json.loads(line)["facts"]["through"]) if b'"action":"audit_prune"' in line else 0
    return 0

def chain_fault(lines, leaves, first):
    """The sequence number of the first line, from leaf `first` on, that has not its number or does not follow."""
    def follows(i):
        return lines[i] is None or lines[i].endswith(b',"previous":"%s"}' % (leaves[i - 1].hex() if i else "0" * 64).encode())
    for i in range(first, len(lines)):
        numbered = lines[i] is None or lines[i].startswith(b'{"sequence":%d,' % (i + 1))
        if not numbered or not follows(i):  # the one before it, when the next one does follow
            return i if numbered and i > 0 and (i + 1 == len(lines) or follows(i + 1)) else i + 1
    return 0

def in_numbers(good, first, last):
    """A period of which an end is a time goes from behind the last good record before that, or up to the first one after it."""
    if isinstance(first, bytes):
        first = max((number for number, _ in itertools.takewhile(lambda at: at[1] < first, good)), default=0) + 1
    if isinstance(last, bytes):
        last = min((number for number, _ in itertools.takewhile(lambda at: at[1] >= last, good[::-1])), default=sys.maxsize) - 1
    return first, last

def judge_period(lines, sound, told, asked, last, other):
    """As judge(), of the records from `asked` to `last`, numbers or times, by what the tiles told."""
    bad, good, expected, begin, pruned, before, broken = [], [], 0, 0, 0, None, False
    for line in lines + [b""] * (not sound):
        number, leaf = number_of(line), leaf_hash(line)
        begin, expected = begin or max(1, number), expected or max(1, number)
        chained = number == expected and (line.endswith(b'"%s"}' % before) if before else number == 1)
        if number < expected or not (told[number - 1] == leaf if number <= len(told) else chained):
            bad, broken = bad + [(expected, expected + 1)], True
            continue
        bad += [(expected, number)] * (number != expected)
        if time := time_of(line): good.append((number, time))
        pruned, expected, before, broken = max(pruned, pruned_through(line)), number + 1, leaf.hex().encode(), False
    bad += [(expected, sys.maxsize)] * (broken and expected > len(told))  # nothing behind it is proven
    first, last = in_numbers(good, asked, last)
    bad = [(1, begin)] * (pruned + 1 < begin) + bad + [(number, number + 1) for number in other]
    bad = [max(first, start) for start, end in bad if max(first, start) < min(end, last + 1)]
    cut = (end := max(1, expected)) <= min(last, len(told)) or asked == first >= end <= last + 1
    return (TAMPERED, bad[0]) if bad else (CUT_OFF, end) if cut else (CLEAN, 0)

def judge(folder, key, period=None, kept=()):
    """(exit code, number of the first record that is not proven good or 0); `kept`: checkpoints that were kept elsewhere."""
    folder = pathlib.Path(folder)
    notes = split_notes((folder / "checkpoints").read_bytes()) if (folder / "checkpoints").exists() else []
    notes += [(folder / "checkpoint").read_bytes()] if (folder / "checkpoint").exists() else []
    checkpoints = [key.open(note) for note in [*notes, *kept]]
    if not all(checkpoints) or len({origin for origin, _, _ in checkpoints}) != 1: return INCONSISTENT, 0
    roots = {size: root for _, size, root in checkpoints}
    last, (lines, _, other, sound), pruned = max(roots), read_lines(folder), 0
    by_tiles = roots_at(told := tile_leaves(folder, last), roots)
    exact = by_tiles.get(last) == roots[last]
    if any(roots[size] != root for _, size, root in checkpoints) or (exact and by_tiles != roots): return INCONSISTENT, 0
    other = sorted(number for number in other if number > last)  # a checkpoint says more than the journal
    if period and exact: return judge_period(lines, sound, told, *period, other)
    if told and lines and 0 < (first := number_of(lines[0])) - 1 <= last:
        pruned = first - 1
        if max(map(pruned_through, lines)) < pruned: return TAMPERED, 1
        lines = [None] * pruned + lines
    leaves = told[:pruned] + [leaf_hash(line) for line in lines[pruned:]]
    found, end = roots_at(leaves, roots), len(leaves) + 1
    if found.get(last) == roots[last]:
        fault = (chain_fault(lines, leaves, last) or min(other, default=0)) if sound else end
        good = (CUT_OFF, end) if period and isinstance(period[0], int) and period[0] >= end else (CLEAN, 0)
        return (INCONSISTENT, 0) if found != roots else (TAMPERED, max(fault, last + 1)) if fault else good
    if exact:
        different = next((i + 1 for i, leaf in enumerate(leaves) if i == last or leaf != told[i]), 0)
        return (TAMPERED if different or not sound else CUT_OFF, different or end)
    good = max((size for size in found if found[size] == roots[size]), default=0)
    fault = chain_fault(lines, leaves, 0)
    cut = sound and not fault and all(found[size] == roots[size] for size in found)
    return (CUT_OFF, end) if cut else (TAMPERED, max(fault, good + 1))

if __name__ == "__main__":
    log, pem, *more = sys.argv[1:]
    period, kept = [end_of_period(end) for end in more[:2]], [pathlib.Path(file).read_bytes() for file in more[2:]]
    code, first_bad = judge(log, Key(pathlib.Path(pem).read_text()), period, kept)
    print(json.dumps({"exit_code": code, "first_bad": first_bad or None, "journal_only": read_lines(pathlib.Path(log))[1]}))
    sys.exit(code)
