#!/usr/bin/env python3
"""What the sanitizers report in whichever process of a run of tests; each report is a file in FOLDER (options.cpp).
ctest's fixture. Standard library only.

  reports.py start FOLDER PROGRAM FAULT…   empties FOLDER, and lets PROGRAM commit each FAULT as the daemons' user: a
                                           sanitizer that does not report it there would report nothing
  reports.py check FOLDER                  prints and removes the reports; fails when there is one"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

UNPRIVILEGED = 65534  # "nobody", as whom the daemons run


def take(folder):
    """The reports by their names, which are removed."""
    found = {}
    for path in sorted(folder.glob("report.*")):
        found[path.name] = path.read_text(errors="replace")
        path.unlink()
    return found


def open_to_all(folder):
    folder.mkdir(exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        sys.exit(f"reports.py: {folder} belongs to somebody else; remove it")
    folder.chmod(0o1777)


def commit(program, fault):
    """Without an environment, from where that user can look."""
    user = {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": []} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="strongroom-fault-") as place:
        os.chmod(place, 0o755)
        copy = shutil.copy2(program, place)
        subprocess.run([copy, fault], env={}, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=False, **user)


def start(folder, program, *faults):
    open_to_all(folder)
    take(folder)
    for fault in faults:
        commit(program, fault)
        found = take(folder)
        if not any("planted_fault.cpp" in text for text in found.values()):
            sys.exit(f"reports.py: the planted fault '{fault}' was not reported in {folder}; there is {found}")


def check(folder):
    found = take(folder) if folder.exists() else {}
    for name, text in found.items():
        print(f"--- {name}\n{text}")
    if found:
        sys.exit(f"reports.py: {len(found)} processes have a report of a sanitizer")


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in ("start", "check"):
        sys.exit(__doc__)
    {"start": start, "check": check}[sys.argv[1]](pathlib.Path(sys.argv[2]), *sys.argv[3:])
