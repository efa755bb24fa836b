"""Names the functions of a program at whose code a page was first touched.

Usage: perf script --show-mmap-events -F comm,pid,ip | faulting.py PROGRAM-WITH-SYMBOLS
"""

import bisect
import os
import re
import subprocess
import sys

MAPPED = re.compile(r"PERF_RECORD_MMAP2 (\d+)/\d+: \[(0x[0-9a-f]+)\((0x[0-9a-f]+)\) .*r-xp \S*?([^/\s]*)$")
FAULT = re.compile(r"\s(\d+)\s+([0-9a-f]+)\s*$")


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


program = sys.argv[1]
segment = next(line.split() for line in output("readelf", "-lW", program) if " R E " in line)
start = int(segment[2], 16) & ~0xFFF
symbols = [line.split() for line in output("nm", "-n", "--defined-only", program)]
symbols = [(int(address, 16), name) for address, kind, name in symbols if kind in "tTwW"]
addresses = [address for address, _ in symbols]
mapped, faulting = {}, set()
for line in sys.stdin:
    if found := MAPPED.search(line):
        pid, base, size, name = found.groups()
        if name == os.path.basename(program):
            mapped[pid] = int(base, 16), int(size, 16)
    elif (found := FAULT.search(line)) and found[1] in mapped:
        base, size = mapped[found[1]]
        offset = int(found[2], 16) - base
        if 0 <= offset < size:
            faulting.add(symbols[bisect.bisect_right(addresses, start + offset) - 1][1])
for name in sorted(faulting):
    print(name)
