"""What a power failure leaves of the files that programs wrote under disk_recorder.so, at any moment of the record.

The disk is as bad as POSIX allows, with two exceptions that every file system of Linux with a journal makes:

* Bytes, sizes and modes of a file are safe once a sync of that file, or of its file system, has ended that began after they
  were written (a write with O_DSYNC or RWF_DSYNC: once it has ended, the write alone). Until then each may be lost by
  itself, whatever came of later ones. A part of a write may be left, in sectors, or its size without its bytes: also of
  a durable one, when the power goes while it is made.
* A name (made, replaced, removed) is safe once its folder was synced, or the file system. A sync of the file makes no name
  safe, though ext4 does so for new files: SQLite and all of ours sync the folder, SoftHSM's files wait for kmsd's syncfs.
* First exception: names of one folder are lost from the last one on. Second: a name that is left is that of a whole
  file, though it may be empty.
* A syncfs is one of the folder that was named and of what is in it: others may be on other file systems.
"""
import os
import pathlib
import stat
import struct

HEAD = struct.Struct("=IIQqq")
CREATED, WRITTEN, RESIZED, MODE_SET, RENAMED, REMOVED, SYNC_BEGINS, SYNC_ENDS, ANSWER = range(1, 10)
WORDS = ("created", "written", "resized", "mode set", "renamed", "removed")  # of the changes among them
SECTOR = 512


class Note:
    """One of the record; `end`: where it ends in it."""

    __slots__ = ("what", "inode", "number", "other", "more", "end")

    def __init__(self, fields, more, end):
        _, self.what, self.inode, self.number, self.other = fields
        self.more, self.end = more, end


def read_notes(record):
    notes, at = [], 0
    while at < len(record):
        fields = HEAD.unpack_from(record, at)
        end = at + fields[0]
        notes.append(Note(fields, record[at + HEAD.size:end], end))
        at = end
    return notes


class File:
    """A file or folder as it was when the record began. Folders have entries (name: File), others bytes."""

    __slots__ = ("path", "mode", "bytes", "entries", "waiting")

    def __init__(self, path, mode):
        self.path, self.mode = path, mode  # the path it was first seen under
        self.bytes = b""
        self.entries = {} if stat.S_ISDIR(mode) else None
        self.waiting = []  # changes that no sync has covered yet


class Change:
    """One of a file or a folder. `at`: the number of its note; `safe`: that of the note that made it so, or None. `do` changes
    a Left."""

    __slots__ = ("at", "file", "safe", "what", "number", "more")

    def __init__(self, at, file, what, number=0, more=None):
        self.at, self.file, self.safe = at, file, None
        self.what, self.number, self.more = what, number, more

    def do(self, left):
        left = left.of(self.file)
        if self.what == WRITTEN:
            if len(left.bytes) < self.number:
                left.bytes.extend(bytes(self.number - len(left.bytes)))
            left.bytes[self.number:self.number + len(self.more)] = self.more
        elif self.what == RESIZED:
            del left.bytes[self.number:]
            left.bytes.extend(bytes(self.number - len(left.bytes)))
        elif self.what == MODE_SET:
            left.mode = self.number
        elif self.what == CREATED:
            name, made = self.more
            left.entries[name] = made
        elif self.what == REMOVED:
            left.entries.pop(self.more, None)
        else:
            before, after = self.more
            if before in left.entries:
                left.entries[after] = left.entries.pop(before)

    def __str__(self):
        what = WORDS[self.what - 1]
        if self.what in (CREATED, RENAMED, REMOVED):
            name = self.more if self.what == REMOVED else self.more[0]
            return f"{self.at} {what} {self.file.path / name}" + (f" to {self.more[1]}" if self.what == RENAMED else "")
        return f"{self.at} {what} {self.file.path} {self.number}" + (f" {len(self.more)} bytes" if self.what == WRITTEN else "")

    def do_in_part(self, left, random):
        """What reached the disk without a sync: nothing of it, all, or with a write sectors, or its size alone."""
        fate = random.choice(("whole", "sectors", "size")) if self.what == WRITTEN else "whole"
        if fate == "whole":
            self.do(left)
            return
        left = left.of(self.file)
        end = self.number + len(self.more)
        if len(left.bytes) < end:
            left.bytes.extend(bytes(end - len(left.bytes)))
        at = self.number
        while fate == "sectors" and at < end:
            next_sector = min(end, (at // SECTOR + 1) * SECTOR)
            if random.random() < 0.5:
                left.bytes[at:next_sector] = self.more[at - self.number:next_sector - self.number]
            at = next_sector


class LeftFile:
    __slots__ = ("mode", "bytes", "entries")

    def __init__(self, file):
        self.mode = file.mode
        self.bytes = bytearray(file.bytes)
        self.entries = None if file.entries is None else dict(file.entries)


class Left:
    """The disk at a moment."""

    def __init__(self, root):
        self.root, self._files = root, {}

    def of(self, file):
        found = self._files.get(id(file))
        if found is None:
            found = self._files[id(file)] = LeftFile(file)
        return found

    def walk(self, folder=None, path=pathlib.PurePath()):
        """(path, mode, bytes or None for a folder), folders before what is in them."""
        for name, file in sorted(self.of(folder or self.root).entries.items()):
            left = self.of(file)
            yield path / name, left.mode, None if left.entries is not None else bytes(left.bytes)
            if left.entries is not None:
                yield from self.walk(file, path / name)

    def write(self, target):
        """Into the folder `target`, where none of it is yet."""
        for path, mode, content in self.walk():
            if content is None:
                (target / path).mkdir()
            else:
                (target / path).write_bytes(content)
            (target / path).chmod(stat.S_IMODE(mode))


class RecordedDisk:
    """Make it before the programs are started; read() the record when they have ended. `leave_out(path)`: files that are
    none of theirs; paths are those below `folder`."""

    def __init__(self, folder, leave_out=lambda path: False):
        self.folder, self.leave_out = folder, leave_out
        self.record = folder / "disk.record"
        self._by_inode = {}
        self.root = self._look(pathlib.PurePath())
        self.notes, self.changes, self.whole_syncs = [], [], []

    def begin(self, library, give):
        """The environment of the programs. `give(path)` makes a file theirs."""
        self.record.write_bytes(b"")
        boot_id = self.record.with_name(self.record.name + ".boot_id")
        boot_id.write_text("6f8ef1d8-54a5-4d39-9c0e-5d2a51b0c0de\n")
        boot_id.chmod(0o644)
        give(self.record)
        return {"LD_PRELOAD": str(library), "DISK_RECORD": str(self.record)}

    def size(self):
        return self.record.stat().st_size

    def _look(self, path):
        status = (self.folder / path).stat()
        file = self._by_inode[status.st_ino] = File(path, status.st_mode)
        if file.entries is None:
            file.bytes = (self.folder / path).read_bytes()
            return file
        for each in os.scandir(self.folder / path):
            if (each.is_file() or each.is_dir()) and not self.leave_out(path / each.name) and each.name[:11] != "disk.record":
                file.entries[each.name] = self._look(path / each.name)
        return file

    def _place(self, path):
        """(folder as a File, name); (None, name) outside and where nothing is recorded."""
        path = pathlib.PurePath(os.path.normpath(os.fsdecode(path)))
        if not path.is_relative_to(self.folder):
            return None, path.name
        at = self._now.of(self.root)
        folder = self.root
        for part in path.relative_to(self.folder).parts[:-1]:
            folder = at.entries.get(part)
            if folder is None:
                return None, path.name
            at = self._now.of(folder)
        return folder, path.name

    def read(self, is_deaf_to=lambda path, whole: False):
        """Understands the record. `is_deaf_to(path, whole)`: syncs of which files, or whole file systems, do nothing."""
        self.notes = read_notes(self.record.read_bytes())
        self.changes, self.whole_syncs = [], []
        for file in self._by_inode.values():
            file.waiting = []
        self._now, inodes, syncs = Left(self.root), dict(self._by_inode), {}
        for at, note in enumerate(self.notes):
            if note.what == SYNC_BEGINS:
                file, whole = inodes.get(note.inode), note.other == 1
                if file is not None and not is_deaf_to(file.path, whole):
                    syncs[note.number] = (at, file, whole, self._waiting(file, whole))
            elif note.what == SYNC_ENDS:
                self._end_sync(at, syncs.pop(note.number, None))
            elif note.what != ANSWER:
                self._change(at, note, inodes)

    def _waiting(self, file, whole):
        if not whole:
            return list(file.waiting)
        below, found = [file], []
        while below:
            each = below.pop()
            found += each.waiting
            below += (self._now.of(each).entries or {}).values()
        return found

    def _end_sync(self, at, sync):
        if sync is None:
            return
        begin, file, whole, covered = sync
        if whole:
            self.whole_syncs.append((begin, at, file.path))
        for change in covered:
            if change.safe is None:
                change.safe = at
        for each in {id(change.file): change.file for change in covered}.values():
            each.waiting = [change for change in each.waiting if change.safe is None]

    def _add(self, change):
        if change.file is None:
            return
        self.changes.append(change)
        change.file.waiting.append(change)
        change.do(self._now)

    def _change(self, at, note, inodes):
        if note.what == CREATED:
            folder, name = self._place(note.more)
            inodes.pop(note.inode, None)  # of a file that is no more
            path = pathlib.PurePath(os.fsdecode(note.more))
            if folder is not None and not self.leave_out(path.relative_to(self.folder)):
                made = inodes[note.inode] = File(path.relative_to(self.folder), note.number)
                self._add(Change(at, folder, CREATED, more=(name, made)))
        elif note.what == REMOVED:
            folder, name = self._place(note.more)
            self._add(Change(at, folder, REMOVED, more=name))
        elif note.what == RENAMED:
            (source, before), (target, after) = (self._place(path) for path in note.more.split(b"\0"))
            if source is not target:
                raise ValueError(f"a file moved between folders, which is not understood: {note.more!r}")
            self._add(Change(at, source, RENAMED, more=(before, after)))
        else:
            file = inodes.get(note.inode)
            change = Change(at, file, note.what, note.number, note.more)
            self._add(change)
            if note.what == WRITTEN and note.other == 1 and file is not None:
                change.safe = at
                file.waiting.pop()

    def whole(self):
        """The disk when everything reached it."""
        return self._now

    def unsafe(self, begin, end, below=pathlib.PurePath()):
        """Changes of files below that folder, noted from `begin` on, that are not safe at `end`."""
        return [change for change in self.changes if begin <= change.at < end and change.file.path.is_relative_to(below)
                and (change.safe is None or change.safe >= end)]

    def durable_writes(self):
        """Numbers of the notes of writes that are durable by themselves: cuts there are in the middle of them."""
        return [change.at for change in self.changes if change.what == WRITTEN and change.safe == change.at]

    def left(self, cut, random=None):
        """The disk after a power failure just before the note of that number: without anything that was not safe or, with
        `random`, with some of it. A write is noted when it is done: with `random`, a durable one of that number is half done."""
        left, kept_names = Left(self.root), {}
        share = random.choice((0.1, 0.5, 0.9)) if random else 0
        for change in self.changes:
            if change.at > cut or change.at == cut and not (random and change.safe == cut):
                break
            if change.at == cut:
                change.do_in_part(left, random)
                break
            if change.safe is not None and change.safe < cut:
                change.do(left)
            elif random and change.file.entries is None:
                if random.random() < share:
                    change.do_in_part(left, random)
            elif random:
                # Once one of a folder's names is lost, so are those behind it.
                kept = kept_names.get(id(change.file), True) and random.random() < max(share, 0.5)
                kept_names[id(change.file)] = kept
                if kept:
                    change.do(left)
        return left
